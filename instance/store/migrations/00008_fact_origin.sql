-- +goose Up
-- Who says so. A fact is declared by the configuration, or recorded by an
-- officer; recorded_by and reason are of the act that wrote the row, which may
-- be a change of its neighbour in time.
-- +goose StatementBegin
do $$
declare
  t text;
begin
  foreach t in array array['territory', 'segment', 'department', 'subject', 'assignment', 'relationship'] loop
    execute format('alter table fact.%I
      add column origin text not null default ''declared'',
      add column recorded_by text not null default ''declared'',
      add column reason text not null default '''',
      add constraint %I check (recorded_by = ''declared'' or reason <> '''')', t, t || '_says_why');
  end loop;
end $$;
-- +goose StatementEnd
create index assignment_by_node on fact.assignment (tree, node) where recorded_to = 'infinity';

-- What the configuration said at the last start, by which the next one tells
-- what has changed since. It is no fact: an officer's word may stand instead.
create table meridian.declared (
  kind    text  not null,
  key     jsonb not null,
  content jsonb not null,
  constraint declared_once primary key (kind, key)
);
insert into meridian.declared
  select 'territory', jsonb_build_array(id), jsonb_build_object('parent', parent, 'name', name, 'level', level)
    from fact.territory where recorded_to = 'infinity' and valid_to > statement_timestamp()
  union all
  select 'segment', jsonb_build_array(id), jsonb_build_object('parent', parent, 'name', name, 'level', level)
    from fact.segment where recorded_to = 'infinity' and valid_to > statement_timestamp()
  union all
  select 'department', jsonb_build_array(id), jsonb_build_object('parent', parent, 'name', name)
    from fact.department where recorded_to = 'infinity' and valid_to > statement_timestamp()
  union all
  select 'subject', jsonb_build_array(id), jsonb_build_object('kind', kind, 'roles', roles, 'clearance', clearance)
    from fact.subject where recorded_to = 'infinity' and valid_to > statement_timestamp()
  union all
  select 'assignment', jsonb_build_array(subject, tree, node), '{}'
    from fact.assignment where recorded_to = 'infinity' and valid_to > statement_timestamp()
  union all
  select 'relationship', jsonb_build_array(department, on_department), jsonb_build_object('actions', actions)
    from fact.relationship where recorded_to = 'infinity' and valid_to > statement_timestamp()
  on conflict do nothing;

-- +goose Down
drop table meridian.declared;
drop index fact.assignment_by_node;
-- +goose StatementBegin
do $$
declare
  t text;
begin
  foreach t in array array['territory', 'segment', 'department', 'subject', 'assignment', 'relationship'] loop
    execute format('alter table fact.%I drop column origin, drop column recorded_by, drop column reason', t);
  end loop;
end $$;
-- +goose StatementEnd
