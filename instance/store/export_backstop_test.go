package store

import "context"

// Role is who the pool's next statement is; "none" is outside the door.
func (s *Store) Role(ctx context.Context) (role string, err error) {
	err = s.pool.QueryRow(ctx, "select current_setting('role')").Scan(&role)
	return role, err
}

// Role is who the transaction's next statement is.
func (t *Tx) Role(ctx context.Context) (role string, err error) {
	err = t.tx.QueryRow(ctx, "select current_setting('role')").Scan(&role)
	return role, err
}

// Inlined is a statement with its values in the places of their placeholders.
func Inlined(sql string, values []any) (string, error) { return inlined(sql, values) }
