-- +goose Up
-- What is recorded of facts is recorded in the order of the access stamp: who
-- changes a fact waits for the stamp first, and reads the clock then. So what was
-- believed at a moment is what the stamp of that moment stood for.

-- +goose StatementBegin
create function fact.await_turn() returns trigger language plpgsql as $$
begin
  perform from meridian.access_stamp for update;
  return null;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
do $$
declare
  t text;
begin
  foreach t in array array['territory', 'segment', 'department', 'subject', 'assignment', 'relationship', 'contract', 'agreement', 'grant', 'denial'] loop
    execute format('create trigger a_turn before insert or update on fact.%I for each statement execute function fact.await_turn()', t);
  end loop;
end $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
do $$
declare
  t text;
begin
  foreach t in array array['territory', 'segment', 'department', 'subject', 'assignment', 'relationship', 'contract', 'agreement', 'grant', 'denial'] loop
    execute format('drop trigger a_turn on fact.%I', t);
  end loop;
end $$;
-- +goose StatementEnd
drop function fact.await_turn();
