-- +goose Up
-- What Kafka has is sent; acknowledged is what its destination applied.
alter table meridian.exchange_stream rename column acked to sent;
alter table meridian.exchange_stream rename constraint exchange_stream_acks_what_it_stored to exchange_stream_sends_what_it_stored;
alter table meridian.exchange_stream
  add column acknowledged    int8multirange not null default '{}', -- numbers of this epoch that the destination says it applied
  add column acknowledged_at timestamptz;

-- Since when each number is acknowledged: beside the ledger, and like it only
-- added to. A number is in one range at most.
create table meridian.egress_receipt (
  stream text        not null constraint egress_receipt_of_a_stream references meridian.exchange_stream,
  epoch  bigint      not null,
  first  bigint      not null,
  last   bigint      not null,
  at     timestamptz not null default clock_timestamp(),
  constraint egress_receipt_is_per_range primary key (stream, epoch, first),
  constraint egress_receipt_is_a_range check (first <= last)
);
create index egress_retraction on meridian.egress (stream, epoch, sequence) where operation in ('delete', 'retract', 'erase');

-- What this instance told the source of a stream in last. It is stored before it
-- is told, and its commit waits for the disk: so everything it speaks of is
-- there too.
create table meridian.exchange_told (
  stream   text        primary key constraint exchange_told_of_an_inbox references meridian.exchange_inbox,
  epoch    bigint      not null,
  sequence bigint      not null,
  told_at  timestamptz not null default clock_timestamp()
);

-- +goose Down
drop table meridian.exchange_told, meridian.egress_receipt;
drop index meridian.egress_retraction;
alter table meridian.exchange_stream
  drop column acknowledged,
  drop column acknowledged_at;
alter table meridian.exchange_stream rename constraint exchange_stream_sends_what_it_stored to exchange_stream_acks_what_it_stored;
alter table meridian.exchange_stream rename column sent to acked;
