package instance

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"meridian/instance/crm"
	"meridian/instance/store"
)

// BI is the database login of a BI tool. It sees views of what its subject may
// read, and nothing else (docs/database.md).
type BI struct {
	Subject      crm.SubjectID `yaml:"subject"`
	Role         string        `yaml:"role"`
	PasswordFile string        `yaml:"password_file,omitempty"` // of a role that the owner shall make
}

var roleName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)

func (c *Config) validateBI(bad func(string, ...any)) {
	seen := map[string]bool{}
	for _, b := range c.BI {
		if !roleName.MatchString(b.Role) || seen[b.Role] {
			bad("bi: role %q is declared twice or is no name: lower-case letters, digits and underscores", b.Role)
		}
		seen[b.Role] = true
		if b.Subject == "" {
			bad("bi: %s: say as whom it sees (subject)", b.Role)
		}
	}
	if len(c.BI) > 0 && c.Database.OwnerURLFile == "" {
		bad("bi: views need database.owner_url_file, so that the role that serves is not the owner")
	}
}

// readers are the logins of BI tools with their secrets.
func (c *Config) readers() ([]store.BIReader, error) {
	var readers []store.BIReader
	for _, b := range c.BI {
		r := store.BIReader{Role: b.Role, Subject: b.Subject}
		if b.PasswordFile != "" {
			text, err := os.ReadFile(b.PasswordFile)
			if err != nil {
				return nil, fmt.Errorf("read the password of role %s: %w", b.Role, err)
			}
			r.Password = strings.TrimSpace(string(text))
		}
		readers = append(readers, r)
	}
	return readers, nil
}

// catchUp is how long views may take to be made anew before that is amiss.
const catchUp = 2 * time.Second

// describeBI tells which logins' views are fresh. A stale one shows nothing. One
// that a change has just overtaken is given time to catch up.
func (i *Instance) describeBI(ctx context.Context, part func(name string, err error, detail string)) {
	if len(i.readers) == 0 {
		return
	}
	fresh, err := i.freshViews(ctx)
	if err != nil {
		i.log.WarnContext(ctx, "views of BI tools", "error", err)
		part("bi", fmt.Errorf("cannot be looked at"), "")
		return
	}
	for _, r := range i.readers {
		v, ok := fresh[r.Role]
		if !ok {
			part("bi "+r.Role, fmt.Errorf("stale: its views show nothing until they are made anew"), "")
			continue
		}
		part("bi "+r.Role, nil, fmt.Sprintf("fresh, as %s, of %s", v.Subject, v.Generated.UTC().Format(time.RFC3339)))
	}
}

// freshViews are the views of the logins that show something, by role, once all
// do or none catches up any more.
func (i *Instance) freshViews(ctx context.Context) (map[string]store.BIView, error) {
	tick := time.NewTicker(catchUp / 20)
	defer tick.Stop()
	for last := time.Now().Add(catchUp); ; {
		views, err := i.store.BIViews(ctx)
		if err != nil {
			return nil, err
		}
		fresh := map[string]store.BIView{}
		for _, v := range views {
			if v.Fresh {
				fresh[v.Role] = v
			}
		}
		if len(fresh) == len(i.readers) || time.Now().After(last) {
			return fresh, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
