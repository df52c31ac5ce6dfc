-- +goose Up
-- An officer's key says who may put another policy in force. Whose it is, and
-- that it was enrolled, is not changed; a revocation is not taken back; and a key
-- that no officers signed for comes from the operator's configuration, by the
-- role that owns the table. The running instance cannot vouch for a key.

-- +goose StatementBegin
create function meridian.guard_officer_key() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' and new.proposal = '' and not pg_has_role(current_user, (select relowner from pg_class where oid = tg_relid), 'usage') then
    raise exception 'a key without a proposal is the operator''s to enrol' using errcode = 'insufficient_privilege';
  end if;
  if tg_op = 'UPDATE' and (row(new.id, new.public_key, new.proposal, new.valid_from) <> row(old.id, old.public_key, old.proposal, old.valid_from)
      or old.proposal <> '' and row(new.subject, new.department, new.valid_to) <> row(old.subject, old.department, old.valid_to)
      or old.revoked_at is not null and row(new.revoked_at, new.revoked_by, new.reason) is distinct from row(old.revoked_at, old.revoked_by, old.reason)) then
    raise exception 'an enrolled key is revoked once, and not changed' using errcode = 'check_violation', constraint = 'officer_key_stays';
  end if;
  return new;
end $$;
-- +goose StatementEnd
create trigger guarded before insert or update on meridian.officer_key for each row execute function meridian.guard_officer_key();

-- +goose Down
drop trigger guarded on meridian.officer_key;
drop function meridian.guard_officer_key();
