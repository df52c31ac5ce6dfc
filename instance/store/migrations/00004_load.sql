-- +goose Up
create table meridian.load (
  id              uuid        not null constraint load_pk primary key,
  feed            text        not null,
  entity          text        not null,
  file            text        not null,
  sha256          text        not null constraint load_sha256_must_be_hex check (sha256 ~ '^[0-9a-f]{64}$'),
  mapping         text        not null,
  mapping_version integer     not null,
  control_count   bigint      not null, -- -1: the sender does not say
  dry_run         boolean     not null,
  state           text        not null constraint load_state_must_be_known check (state in ('applying', 'complete', 'complete_with_rejects', 'halted')),
  actor           text        not null,
  error           text        not null default '',
  rows_read       bigint      not null default 0,
  inserted        bigint      not null default 0,
  updated         bigint      not null default 0,
  unchanged       bigint      not null default 0,
  rejected        bigint      not null default 0,
  filtered        bigint      not null default 0,
  position_record bigint      not null default 0,
  position_offset bigint      not null default 0,
  progress_done   bigint      not null default 0,
  progress_total  bigint      not null default 0,
  progress_unit   text        not null default '',
  started_at      timestamptz not null default now(),
  touched_at      timestamptz not null default now(),
  finished_at     timestamptz,
  -- where and when this run began or was resumed: the pace is measured from here
  run_at          timestamptz not null default now(),
  run_done        bigint      not null default 0,
  constraint load_balance_must_close check (rows_read = inserted + updated + unchanged + rejected + filtered),
  constraint load_position_must_be_what_was_read check (position_record = rows_read)
);

-- The same content under the same mapping is loaded once; a halted load may be
-- begun again, and a dry run leaves nothing that a second one would repeat.
create unique index load_content_must_be_loaded_once on meridian.load (feed, sha256, mapping, mapping_version, dry_run)
  where state = 'applying' or (state in ('complete', 'complete_with_rejects') and not dry_run);
create index load_by_start on meridian.load (started_at desc);

create table meridian.load_reject (
  load     uuid   not null constraint load_reject_of_a_load references meridian.load (id) on delete cascade,
  number   bigint not null,
  by_store boolean not null, -- refused by this instance, not by the facade
  code     text   not null,
  field    text   not null,
  message  text   not null,
  original bytea,
  constraint load_reject_pk primary key (load, number)
);

-- +goose Down
drop table meridian.load_reject;
drop table meridian.load;
