-- +goose Up
-- Policy bundles, kept for ever by digest: decisions and the ledger name them.
create table meridian.bundle (
  digest    text        not null constraint bundle_pk primary key constraint bundle_digest_is_sha256 check (digest ~ '^[0-9a-f]{64}$'),
  files     jsonb       not null, -- path -> text: rules, tests, personas
  version   text        not null default '', -- of the product that ships it; '' for an officer's
  stored_by text        not null default '', -- '' for the product
  stored_at timestamptz not null default clock_timestamp()
);

-- Which bundle is in force: the one named last. The numbers have no hole, so
-- that a signature can say after which activation it may be used.
create table meridian.activation (
  seq       bigint      not null constraint activation_pk primary key constraint activation_is_counted_from_one check (seq > 0),
  digest    text        not null constraint activation_of_a_bundle references meridian.bundle,
  kind      text        not null constraint activation_kind_is_known check (kind in ('initial', 'upgrade', 'activate', 'rollback')),
  proposal  text        not null default '', -- whose signatures allowed it
  reason    text        not null default '',
  by        text        not null default '', -- '' for the product
  execution text        not null default '',
  at        timestamptz not null default clock_timestamp()
);
create index activation_by_time on meridian.activation (at);

-- +goose StatementBegin
create function meridian.refuse_change_of_policy() returns trigger language plpgsql as $$
begin
  raise exception 'bundles and activations are only added to' using errcode = 'check_violation', constraint = 'policy_is_only_added_to';
end $$;
-- +goose StatementEnd
create trigger append_only before update or delete or truncate on meridian.bundle for each statement execute function meridian.refuse_change_of_policy();
create trigger append_only before update or delete or truncate on meridian.activation for each statement execute function meridian.refuse_change_of_policy();

-- +goose StatementBegin
-- No activation without a move of the access stamp and a line in the feed: it
-- holds for the next statement of everybody.
create function meridian.activated() returns trigger language plpgsql as $$
begin
  perform fact.move_stamp();
  perform fact.announce('bundle', '', null);
  return null;
end $$;
-- +goose StatementEnd
create trigger activated after insert on meridian.activation for each row execute function meridian.activated();

-- +goose Down
drop table meridian.activation, meridian.bundle;
drop function meridian.activated(), meridian.refuse_change_of_policy();
