package instance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	"meridian/instance/crm/trees"
	"meridian/instance/store"
)

// Config is the one YAML file of an instance. Secrets are named by file, never
// held; relative paths are relative to the file. An unknown field is an error,
// and old files keep starting new builds.
type Config struct {
	Instance string   `yaml:"instance"`
	Listen   string   `yaml:"listen"` // host:port of the public API
	Database Database `yaml:"database"`
	Kafka    Kafka    `yaml:"kafka"`
	Identity Identity `yaml:"identity"`
	Plugins  Plugins  `yaml:"plugins"`
	Audit    Audit    `yaml:"audit,omitempty"`
	BI       []BI     `yaml:"bi,omitempty"`
	Policy   Policy   `yaml:"policy,omitempty"`
	Log      Log      `yaml:"log,omitempty"`

	// The facts that are declared; agreements and grants are made at run time.
	Departments   []Department   `yaml:"departments,omitempty"`
	Subjects      []Subject      `yaml:"subjects,omitempty"`
	Relationships []Relationship `yaml:"relationships,omitempty"`
	Contracts     []Contract     `yaml:"contracts,omitempty"`
}

// Database is where the records live.
type Database struct {
	URLFile string `yaml:"url_file"` // file that holds the URL, password included, of the role that serves
	// The same of the role that owns the tables: used while the instance opens.
	// Without it one role does both (docs/database.md).
	OwnerURLFile string `yaml:"owner_url_file,omitempty"`
	MaxConns     int    `yaml:"max_connections,omitempty"` // 16 if zero
}

// Kafka is where the exchange goes. Without brokers nothing is exchanged.
type Kafka struct {
	Brokers []string `yaml:"brokers,omitempty"`
}

// Identity is whose tokens are believed. The audience is the instance's name.
type Identity struct {
	JWKSFile string `yaml:"jwks_file"`
}

// Plugins says which plugins run and where their builds are.
type Plugins struct {
	Dir   string            `yaml:"dir,omitempty"`   // folder of the binaries meridian-plugin-<name>
	Lock  string            `yaml:"lock,omitempty"`  // digests of the builds; plugins.lock.json in Dir if empty
	Use   []Plugin          `yaml:"use,omitempty"`   //
	Slots map[string]string `yaml:"slots,omitempty"` // slot -> plugin, where more than one offers it
}

// Plugin is one plugin to run, with its own configuration.
type Plugin struct {
	Name   string         `yaml:"name"`
	Config map[string]any `yaml:"config,omitempty"`
}

// Audit says how the decision log is kept.
type Audit struct {
	RetentionDays int    `yaml:"retention_days,omitempty"` // 400 if absent
	KeyFile       string `yaml:"key_file,omitempty"`       // Ed25519 key, PKCS #8 in PEM; signs the log's chain
}

// Policy says whose signatures count from the beginning: officers enrol one
// another from there.
type Policy struct {
	Officers []Officer `yaml:"officers,omitempty"`
	// Digests of bundles that builds of the product brought which this one does
	// not know, as those of later versions.
	Delivered []string `yaml:"delivered,omitempty"`
}

// departmentOf is the department that a subject's key answers for when the
// operator names none: the first that the subject is declared in.
func (c *Config) departmentOf(id crm.SubjectID) string {
	for _, s := range c.Subjects {
		if s.ID == id && len(s.Departments) > 0 {
			return slices.Min(s.Departments)
		}
	}
	return ""
}

// Officer is a key that the operator vouches for.
type Officer struct {
	Subject    crm.SubjectID `yaml:"subject"`
	KeyFile    string        `yaml:"key_file"`             // ed25519 public key in PEM, as meridian policy keys new writes it
	Department string        `yaml:"department,omitempty"` // the subject's own if empty
	Until      time.Time     `yaml:"until,omitempty"`      // open end if empty
}

// Key reads the officer's public key.
func (o Officer) Key() (store.TrustedKey, error) {
	k := store.TrustedKey{Subject: o.Subject, Department: o.Department, Until: o.Until}
	text, err := os.ReadFile(o.KeyFile)
	if err != nil {
		return k, fmt.Errorf("read an officer's key: %w", err)
	}
	public, err := signed.ParsePublic(text)
	if err != nil {
		return k, fmt.Errorf("key of %s, %s: %w", o.Subject, o.KeyFile, err)
	}
	if k.ID, k.Public = signed.KeyID(public), public; k.Until.IsZero() {
		k.Until = crm.Forever
	}
	return k, nil
}

// Log says how much is logged: debug, info (the default), warn or error.
type Log struct {
	Level slog.Level `yaml:"level,omitempty"`
}

// Department is one node of the department tree.
type Department struct {
	ID     string `yaml:"id"`
	Parent string `yaml:"parent,omitempty"`
	Name   string `yaml:"name"`
}

// Subject is a person or service with what it is assigned to.
type Subject struct {
	ID          crm.SubjectID   `yaml:"id"`
	Kind        crm.SubjectKind `yaml:"kind,omitempty"` // person if empty
	Roles       []string        `yaml:"roles"`
	Clearance   int             `yaml:"clearance,omitempty"`
	Territories []string        `yaml:"territories,omitempty"` // subtree roots
	Segments    []string        `yaml:"segments,omitempty"`    // subtree roots; "all" for every one
	Departments []string        `yaml:"departments,omitempty"`
}

// Relationship lets the members of a department act on another's records.
type Relationship struct {
	Department string       `yaml:"department"`
	On         string       `yaml:"on"`
	Actions    []crm.Action `yaml:"actions"`
}

// Contract is what one instance lets another subscribe to. Both sides hold the
// same text.
type Contract struct {
	ID            string    `yaml:"id"`
	Source        string    `yaml:"source"`
	Destination   string    `yaml:"destination"`
	Entity        string    `yaml:"entity"`
	Territories   []string  `yaml:"territories,omitempty"`
	Segments      []string  `yaml:"segments,omitempty"`
	Departments   []string  `yaml:"departments,omitempty"` // "emea/dach-sales": in scope by agreement
	Groups        []string  `yaml:"groups"`
	Jurisdictions []string  `yaml:"jurisdictions"`
	Purpose       string    `yaml:"purpose"`
	LegalBasis    string    `yaml:"legal_basis"`
	From          time.Time `yaml:"from,omitempty"`
	To            time.Time `yaml:"to,omitempty"` // open end if empty
	ArrivesAs     Arrival   `yaml:"arrives_as,omitempty"`
}

// Arrival says how a record stands in the destination.
type Arrival struct {
	Department  string `yaml:"department,omitempty"`
	Sensitivity int    `yaml:"sensitivity,omitempty"`
}

// LoadConfig reads an instance's file, completes it and checks it whole: every
// problem is reported, not only the first.
func LoadConfig(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	c, err := ParseConfig(text)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s: %w", path, err)
	}
	files := []*string{&c.Database.URLFile, &c.Database.OwnerURLFile, &c.Identity.JWKSFile, &c.Plugins.Dir, &c.Plugins.Lock, &c.Audit.KeyFile}
	for i := range c.BI {
		files = append(files, &c.BI[i].PasswordFile)
	}
	for _, p := range files {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	for i := range c.Policy.Officers {
		if p := &c.Policy.Officers[i].KeyFile; *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(path), *p)
		}
	}
	return c, nil
}

// ParseConfig reads the text of an instance's file.
func ParseConfig(text []byte) (Config, error) {
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, err
	}
	c.complete()
	return c, c.Validate()
}

func (c *Config) complete() {
	if c.Database.MaxConns == 0 {
		c.Database.MaxConns = 16
	}
	if c.Audit.RetentionDays == 0 {
		c.Audit.RetentionDays = 400
	}
	for i := range c.Subjects {
		if c.Subjects[i].Kind == "" {
			c.Subjects[i].Kind = crm.KindPerson
		}
	}
	for i := range c.Contracts {
		if c.Contracts[i].From.IsZero() {
			c.Contracts[i].From = time.Unix(0, 0).UTC()
		}
		if c.Contracts[i].To.IsZero() {
			c.Contracts[i].To = crm.Forever
		}
	}
}

var instanceName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

// Validate reports every rule the configuration breaks.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !instanceName.MatchString(c.Instance) {
		bad("instance: %q is not a name: lower-case letters, digits and hyphens", c.Instance)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %q is not host:port", c.Listen)
	}
	if c.Database.URLFile == "" {
		bad("database.url_file: name the file that holds the database's URL")
	}
	if c.Identity.JWKSFile == "" {
		bad("identity.jwks_file: name the file of the keys whose tokens are believed")
	}
	if len(c.Plugins.Use) > 0 && c.Plugins.Dir == "" {
		bad("plugins.dir: name the folder of the plugins' binaries")
	}
	if c.Audit.RetentionDays < 1 {
		bad("audit.retention_days: %d: decisions are kept for at least a day", c.Audit.RetentionDays)
	}
	for i, o := range c.Policy.Officers {
		if o.Subject == "" || o.KeyFile == "" {
			bad("policy.officers[%d]: name the subject and the file of their public key", i)
		}
	}
	departments := c.validateDepartments(bad)
	c.validateSubjects(departments, bad)
	c.validateBI(bad)
	for i, r := range c.Relationships {
		if !departments[r.Department] || !departments[r.On] || len(r.Actions) == 0 {
			bad("relationships[%d]: name two declared departments and at least one action", i)
		}
	}
	for i := range c.Contracts {
		c.Contracts[i].validate(c.Instance, bad)
	}
	return errors.Join(errs...)
}

func (c *Config) validateDepartments(bad func(string, ...any)) map[string]bool {
	known := map[string]bool{}
	for _, d := range c.Departments {
		if d.ID == "" || strings.Contains(d.ID, "/") || known[d.ID] {
			bad("departments: %q is empty, declared twice, or holds a slash", d.ID)
		}
		if d.Parent != "" && !known[d.Parent] {
			bad("departments: %q is below %q, which is not declared before it", d.ID, d.Parent)
		}
		known[d.ID] = true
	}
	return known
}

func (c *Config) validateSubjects(departments map[string]bool, bad func(string, ...any)) {
	seen := map[crm.SubjectID]bool{}
	for _, s := range c.Subjects {
		if s.ID == "" || seen[s.ID] {
			bad("subjects: %q is empty or declared twice", s.ID)
		}
		seen[s.ID] = true
		if s.Kind != crm.KindPerson && s.Kind != crm.KindService {
			bad("subjects: %s: kind is person or service, not %q", s.ID, s.Kind)
		}
		for _, d := range s.Departments {
			if !departments[d] {
				bad("subjects: %s: department %q is not declared", s.ID, d)
			}
		}
		for _, id := range s.Territories {
			if !hasNode(trees.Territories(), id) {
				bad("subjects: %s: there is no territory %q", s.ID, id)
			}
		}
		for _, id := range s.Segments {
			if !hasNode(trees.Segments(), id) {
				bad("subjects: %s: there is no segment %q", s.ID, id)
			}
		}
	}
}

func (k *Contract) validate(here string, bad func(string, ...any)) {
	if k.ID == "" {
		bad("contracts: a contract needs an id")
	}
	if k.Source == k.Destination || (k.Source != here && k.Destination != here) {
		bad("contracts: %s: goes from %q to %q; one end, and only one, must be %q", k.ID, k.Source, k.Destination, here)
	}
	if k.Entity == "" || len(k.Groups) == 0 || len(k.Jurisdictions) == 0 {
		bad("contracts: %s: name an entity, field groups and jurisdictions (\"*\" for all)", k.ID)
	}
	if len(k.Departments) == 0 && (len(k.Territories) == 0 || len(k.Segments) == 0) {
		bad("contracts: %s: nothing is in scope: name territories and segments, or departments", k.ID)
	}
	if k.Purpose == "" || k.LegalBasis == "" {
		bad("contracts: %s: say for what purpose and on what legal basis", k.ID)
	}
	if !k.From.Before(k.To) {
		bad("contracts: %s: ends before it begins", k.ID)
	}
	for _, id := range k.Territories {
		if !hasNode(trees.Territories(), id) {
			bad("contracts: %s: there is no territory %q", k.ID, id)
		}
	}
	for _, id := range k.Segments {
		if !hasNode(trees.Segments(), id) {
			bad("contracts: %s: there is no segment %q", k.ID, id)
		}
	}
}

func hasNode(nodes []trees.Node, id string) bool {
	return slices.ContainsFunc(nodes, func(n trees.Node) bool { return n.ID == id })
}

// URLs reads the secrets: of the role that serves, and of the owner if it has
// a file of its own.
func (d Database) URLs() (app, owner string, err error) {
	text, err := os.ReadFile(d.URLFile)
	if err != nil {
		return "", "", fmt.Errorf("read the database's URL: %w", err)
	}
	app = strings.TrimSpace(string(text))
	if d.OwnerURLFile == "" {
		return app, "", nil
	}
	if text, err = os.ReadFile(d.OwnerURLFile); err != nil {
		return "", "", fmt.Errorf("read the database owner's URL: %w", err)
	}
	return app, strings.TrimSpace(string(text)), nil
}

// Key reads the secret that signs the chain of the decision log; nil without.
func (a Audit) Key() (ed25519.PrivateKey, error) {
	if a.KeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the audit key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("audit key %s: is not PEM", a.KeyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("audit key %s: %w", a.KeyFile, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("audit key %s: is not an Ed25519 key", a.KeyFile)
	}
	return key, nil
}
