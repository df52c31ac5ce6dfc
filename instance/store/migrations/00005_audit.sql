-- +goose Up
-- The decision log becomes tamper-evident. Decisions are inserted by requests
-- as before; shortly after, behind the oldest open transaction, a sealer binds
-- them into batches, one chain a writer, and the batches into one root chain.
-- Requests pay for two columns and an index, never for a hash.

alter table meridian.decision_log
  add column writer text not null default '', -- the replica that decided
  add column xid    xid8 not null default pg_current_xact_id();
create index decision_by_transaction on meridian.decision_log (xid, id);
create index decision_by_time on meridian.decision_log using brin (at);

-- One link of the root chain: a seal of batches, or a note that retention
-- removed the rows of all roots up to removed_through.
create table meridian.decision_root (
  sequence        bigint      not null constraint decision_root_pk primary key,
  at              timestamptz not null,
  removed_through bigint      not null, -- 0 for a seal
  batches         integer     not null, -- that it seals
  previous        bytea       not null, -- hash of the root before
  hash            bytea       not null,
  signature       bytea       not null, -- of hash, Ed25519; empty without a key
  constraint decision_root_removes_what_is_older check (removed_through < sequence)
);

-- Decisions of one writer that were sealed together. Once its rows are removed
-- by retention the lists are empty; what the hash is made of stays.
create table meridian.decision_batch (
  writer    text     not null,
  sequence  bigint   not null, -- among the writer's batches
  root      bigint   not null constraint decision_batch_is_sealed references meridian.decision_root,
  decisions integer  not null,
  ids       bigint[] not null, -- in the order they were sealed
  leaves    bytea    not null, -- SHA-256 of each decision, in that order
  records   uuid[]   not null, -- whom they concern; an index, not evidence
  content   bytea    not null, -- SHA-256 of ids and leaves
  previous  bytea    not null, -- hash of the writer's batch before
  hash      bytea    not null,
  constraint decision_batch_pk primary key (writer, sequence)
);
create index decision_batch_by_root on meridian.decision_batch (root);
create index decision_batch_by_record on meridian.decision_batch using gin (records);

-- How far the sealer is. Its lock makes sealing and removing take turns.
create table meridian.decision_seal (
  only_row boolean not null default true constraint decision_seal_is_one_row primary key check (only_row),
  xid      xid8    not null default '0',
  id       bigint  not null default 0,
  root     bigint  not null default 0 -- sequence of the newest root
);
insert into meridian.decision_seal default values;

-- +goose StatementBegin
-- Stops slips, not attackers: those are what the chain is for.
create function meridian.refuse_rewriting() returns trigger language plpgsql as $$
begin
  if current_setting('meridian.retention', true) is distinct from 'on' then
    raise exception 'the decision log is only added to' using errcode = 'check_violation', constraint = 'decision_log_is_append_only';
  end if;
  return null;
end $$;
-- +goose StatementEnd
create trigger append_only before update or delete or truncate on meridian.decision_log for each statement execute function meridian.refuse_rewriting();
create trigger append_only before update or delete or truncate on meridian.decision_batch for each statement execute function meridian.refuse_rewriting();
create trigger append_only before update or delete or truncate on meridian.decision_root for each statement execute function meridian.refuse_rewriting();

-- +goose Down
drop table meridian.decision_seal, meridian.decision_batch, meridian.decision_root;
drop trigger append_only on meridian.decision_log;
drop function meridian.refuse_rewriting();
drop index meridian.decision_by_transaction, meridian.decision_by_time;
alter table meridian.decision_log drop column writer, drop column xid;
