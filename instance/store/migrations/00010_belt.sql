-- +goose Up
-- What the running instance needs now and then and must not be able to do at
-- will: these functions run with the owner's rights and do no more than they say.
-- Who may call them is granted when the store opens.

-- +goose StatementBegin
-- Statistics of an entity's records, after a load.
create function meridian.analyze(entity text) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  execute format('analyze record.%I', entity);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Removes the decisions of the roots after_root < root <= through_root, once
-- the newest root notes it: nothing goes without a word in the chain.
create function meridian.remove_decisions(after_root bigint, through_root bigint) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if through_root is distinct from (select removed_through from meridian.decision_root order by sequence desc limit 1) then
    raise exception 'a removal is noted in the chain first' using errcode = 'check_violation', constraint = 'decision_removal_is_noted_first';
  end if;
  perform set_config('meridian.retention', 'on', true);
  delete from meridian.decision_log where id in (select unnest(ids) from meridian.decision_batch where root > after_root and root <= through_root);
  update meridian.decision_batch set ids = '{}', leaves = '', records = '{}' where root > after_root and root <= through_root;
  perform set_config('meridian.retention', '', true);
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Begins anew after the database was restored into a server that counts its
-- transactions from the start: what the chain holds stays behind the position,
-- everything else comes after it, whatever its number was.
create function meridian.requeue_decisions() returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (select from meridian.decision_seal where xid > pg_snapshot_xmax(pg_current_snapshot())) then
    raise exception 'the log was not restored' using errcode = 'check_violation', constraint = 'decisions_are_requeued_after_a_restore';
  end if;
  perform set_config('meridian.retention', 'on', true);
  with sealed as (select unnest(ids) as id from meridian.decision_batch)
  update meridian.decision_log d set xid = case when s.id is null then pg_current_xact_id() else '0'::xid8 end
  from meridian.decision_log l left join sealed s on s.id = l.id
  where d.id = l.id and (s.id is null or d.xid >= pg_snapshot_xmin(pg_current_snapshot()));
  update meridian.decision_seal set xid = pg_snapshot_xmin(pg_current_snapshot()), id = 0;
  perform set_config('meridian.retention', '', true);
end $$;
-- +goose StatementEnd

revoke all on function meridian.analyze(text), meridian.remove_decisions(bigint, bigint), meridian.requeue_decisions() from public;

-- The views of BI logins, a schema each. A view shows nothing unless the access
-- stamp it was made under is the one in force: a stale one waits to be made anew.
create table meridian.bi_view (
  role      text        not null constraint bi_view_pk primary key,
  subject   text        not null,
  stamp     bigint      not null,
  digest    text        not null, -- of the views' text: what did not change is not made anew
  bundle    text        not null,
  generated timestamptz not null default clock_timestamp()
);

-- +goose Down
drop table meridian.bi_view;
drop function meridian.analyze(text), meridian.remove_decisions(bigint, bigint), meridian.requeue_decisions();
