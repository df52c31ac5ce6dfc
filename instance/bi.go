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

// describeBI tells which logins' views are fresh. A stale one shows nothing.
func (i *Instance) describeBI(ctx context.Context, part func(name string, err error, detail string)) {
	if len(i.readers) == 0 {
		return
	}
	views, err := i.store.BIViews(ctx)
	if err != nil {
		i.log.WarnContext(ctx, "views of BI tools", "error", err)
		part("bi", fmt.Errorf("cannot be looked at"), "")
	}
	for _, v := range views {
		var stale error
		if !v.Fresh {
			stale = fmt.Errorf("stale: shows nothing until its views are made anew")
		}
		part("bi "+v.Role, stale, fmt.Sprintf("as %s, of %s", v.Subject, v.Generated.UTC().Format(time.RFC3339)))
	}
}
