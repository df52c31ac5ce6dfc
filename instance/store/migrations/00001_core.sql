-- +goose Up
create schema meridian;
create schema record;  -- the live row of every record, a table per entity
create schema history; -- every version of every record, a table per entity
create schema fact;    -- what policy reads beside the record

-- Who may see what moves with this number: every fact and every bundle bumps it.
create table meridian.access_stamp (
  only_row boolean primary key default true constraint access_stamp_is_one_row check (only_row),
  stamp    bigint  not null
);
insert into meridian.access_stamp (stamp) values (1);

-- +goose StatementBegin
create function meridian.bump_access_stamp() returns trigger language plpgsql as $$
begin
  update meridian.access_stamp set stamp = stamp + 1;
  return null;
end $$;
-- +goose StatementEnd

-- Keys that never leave this database. "cursor" seals the cursors of lists.
create table meridian.secret (
  name text  primary key,
  key  bytea not null constraint secret_is_long_enough check (length(key) >= 32)
);

-- The definitions that are installed: what the tables of record and history are made from.
create table meridian.definition (
  entity    text        primary key,
  body      jsonb       not null,
  installed timestamptz not null default now()
);

-- The ordered feed. Readers stay behind the oldest open transaction:
-- (xid, pos) > cursor and xid < pg_snapshot_xmin(pg_current_snapshot()).
create table meridian.outbox (
  pos       bigint generated always as identity,
  xid       xid8        not null default pg_current_xact_id(),
  kind      text        not null constraint outbox_kind_is_known check (kind in ('record', 'fact', 'contract', 'bundle', 'boundary')),
  entity    text        not null default '',
  record_id uuid,
  version   bigint      not null default 0,
  op        text        not null default '',
  at        timestamptz not null default clock_timestamp(),
  actor     text        not null default '',
  execution text        not null default '',
  constraint outbox_is_ordered_by_transaction primary key (xid, pos)
);

-- Ids are never used again.
create table meridian.tombstone (
  id        uuid        primary key,
  entity    text        not null,
  home      text        not null,
  version   bigint      not null,
  at        timestamptz not null,
  actor     text        not null,
  execution text        not null
);

-- An answer that was given is given again, to the same identity.
create table meridian.idempotency (
  subject text        not null,
  key     text        not null,
  hash    text        not null,
  answer  bytea,
  at      timestamptz not null default now(),
  constraint idempotency_key_is_per_identity primary key (subject, key)
);
create index idempotency_by_age on meridian.idempotency (at);

-- What this instance holds of others' records, per contract: the order of what
-- arrived and which groups came. No values; the row stays as proof when the
-- record has left.
create table meridian.holding (
  record_id uuid        not null,
  contract  text        not null,
  entity    text        not null,
  home      text        not null,
  epoch     bigint      not null,
  exposure  bigint      not null,
  version   bigint      not null,
  groups    text[]      not null,
  held      boolean     not null,
  since     timestamptz not null default clock_timestamp(),
  until     timestamptz,
  constraint holding_is_per_record_and_contract primary key (record_id, contract),
  constraint holding_ends_when_not_held check (held = (until is null))
);
create index holding_by_contract on meridian.holding (contract, held);

-- +goose Down
drop schema fact, history, record, meridian cascade;
