-- +goose Up
-- Where the relay is: one row. The transaction that moves it stores everything
-- that follows from the changes it moved past. The origin epoch rises when the
-- database was restored, because positions and sequences went back with it.
create table meridian.exchange_relay (
  only_row boolean primary key default true constraint exchange_relay_is_one_row check (only_row),
  cursor   text    not null,
  epoch    bigint  not null
);

-- What the relay knows of each contract it serves, also after the contract was
-- taken from the facts: its records still have to come back.
create table meridian.exchange_contract (
  contract    text    primary key,
  destination text    not null,
  entity      text    not null,
  stream      text    not null,
  terms       text    not null, -- digest: other terms mean looking at everything again
  sweep       text    not null constraint exchange_sweep_is_known check (sweep in ('', 'held', 'home')),
  after       uuid    not null, -- how far the sweep is
  snapshot    bigint  not null  -- first sequence of the snapshot this sweep is, -1 before it begins, 0 if none
);

-- A stream out: one topic, numbered without a hole.
create table meridian.exchange_stream (
  stream      text        primary key,
  destination text        not null,
  entity      text        not null,
  sequence    bigint      not null default 0, -- last stored
  acked       bigint      not null default 0, -- last acknowledged by Kafka
  stored_at   timestamptz,
  error       text        not null default '',
  constraint exchange_stream_acks_what_it_stored check (acked <= sequence)
);

-- Envelopes as they are sent, byte for byte, until Kafka has them.
create table meridian.exchange_envelope (
  stream    text   not null constraint exchange_envelope_of_a_stream references meridian.exchange_stream,
  sequence  bigint not null,
  key       text   not null,
  body      bytea  not null,
  constraint exchange_envelope_is_numbered primary key (stream, sequence)
);

-- What left: the ledger. It holds no values and is never changed.
create table meridian.egress (
  stream    text        not null,
  epoch     bigint      not null,
  sequence  bigint      not null,
  contract  text        not null,
  entity    text        not null,
  record_id uuid        not null,
  version   bigint      not null,
  exposure  bigint      not null,
  operation text        not null constraint egress_operation_is_known check (operation in ('upsert', 'snapshot', 'delete', 'retract', 'erase')),
  groups    text[]      not null,
  bundle    text        not null,
  execution text        not null,
  at        timestamptz not null,
  constraint egress_is_numbered primary key (stream, epoch, sequence)
);
create index egress_by_record on meridian.egress (record_id, at desc);
create index egress_by_time on meridian.egress (at desc);

-- Who holds what of ours now, per contract, and with which exposure number.
create table meridian.egress_holding (
  contract  text   not null,
  record_id uuid   not null,
  stream    text   not null,
  exposure  bigint not null,
  held      boolean not null,
  digest    bytea  not null, -- of the projection while it is held: an equal one is not sent again
  constraint egress_holding_is_per_record_and_contract primary key (contract, record_id)
);
create index egress_holding_held on meridian.egress_holding (contract, record_id) where held;
create index egress_holding_by_stream on meridian.egress_holding (stream) where held;

-- Records to look at once their stream takes envelopes again.
create table meridian.exchange_due (
  contract  text    not null,
  record_id uuid    not null,
  execution text    not null,
  constraint exchange_due_is_per_record_and_contract primary key (contract, record_id)
);

-- Numbers that a destination misses and asked for.
create table meridian.exchange_repair (
  stream text   not null,
  first  bigint not null,
  last   bigint not null,
  constraint exchange_repair_is_per_range primary key (stream, first)
);

-- A stream in: where to read on, and what was applied.
create table meridian.exchange_inbox (
  stream       text        primary key,
  source       text        not null,
  entity       text        not null,
  epoch        bigint      not null default 0,
  sequence     bigint      not null default 0, -- last applied or parked
  next_offset  bigint      not null default 0,
  end_offset   bigint      not null default 0, -- of the topic, as last seen
  applied_at   timestamptz,
  error        text        not null default ''
);

-- Numbers that were expected and did not come.
create table meridian.exchange_gap (
  stream    text        not null constraint exchange_gap_of_an_inbox references meridian.exchange_inbox,
  epoch     bigint      not null,
  first     bigint      not null,
  last      bigint      not null, -- 0: nobody knows
  opened    timestamptz not null default now(),
  requested timestamptz,
  closed    timestamptz,
  constraint exchange_gap_is_per_range primary key (stream, epoch, first)
);
create index exchange_gap_open on meridian.exchange_gap (stream) where closed is null;

-- Envelopes that could not be applied: the latest per record and contract.
create table meridian.exchange_parked (
  stream    text        not null constraint exchange_parked_of_an_inbox references meridian.exchange_inbox,
  contract  text        not null,
  key       text        not null, -- the record, as the message says
  epoch     bigint      not null,
  sequence  bigint      not null,
  exposure  bigint      not null,
  reason    text        not null,
  tries     integer     not null default 1,
  body      bytea       not null,
  parked_at timestamptz not null default now(),
  constraint exchange_parked_is_per_record_and_contract primary key (stream, contract, key)
);

-- +goose Down
drop table meridian.exchange_parked, meridian.exchange_gap, meridian.exchange_inbox, meridian.exchange_repair, meridian.exchange_due,
  meridian.egress_holding, meridian.egress, meridian.exchange_envelope, meridian.exchange_stream, meridian.exchange_contract, meridian.exchange_relay;
