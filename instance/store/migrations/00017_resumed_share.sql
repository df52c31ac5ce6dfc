-- +goose Up
-- A share that was suspended because its giver lost sight holds again when the
-- giver could give it again. Under which bundle it was suspended says whether
-- it was the bundle that took the sight.
alter table fact."grant" add column suspended_under text not null default '';

-- +goose Down
alter table fact."grant" drop column suspended_under;
