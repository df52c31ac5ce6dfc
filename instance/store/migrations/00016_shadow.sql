-- +goose Up
-- A shadow also compares counts, totals, history and writes, and says by which
-- ground its answers differ.
alter table meridian.shadow_difference
  add column refused bigint not null default 0, -- requests the shadow would have refused whole
  add column open    bigint not null default 0; -- refused writes of which it cannot say

create table meridian.shadow_ground (
  shadow  bigint not null,
  subject text   not null,
  action  text   not null,
  entity  text   not null,
  ground  text   not null,
  change  text   not null constraint change_of_a_ground_is_known check (change in ('opens', 'closes', 'opens no longer', 'closes no longer')),
  records bigint not null, -- of those looked into
  constraint shadow_ground_pk primary key (shadow, subject, action, entity, ground, change),
  constraint shadow_ground_of_a_difference foreign key (shadow, subject, action, entity) references meridian.shadow_difference
);

-- +goose Down
drop table meridian.shadow_ground;
alter table meridian.shadow_difference drop column refused, drop column open;
