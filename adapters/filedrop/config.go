package filedrop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"meridian/adapters"
	"meridian/adapters/mapping"
)

// Config is the configuration of one filedrop process, a strict YAML file:
//
//	name: filedrop@amer               # who this is, in logs and Spec
//	service: http://127.0.0.1:7001    # the instance to load into
//	token_file: /run/meridian/loader.token   # bearer token of the loader identity; read again for every call
//	folder: /srv/meridian/amer/drop   # inbox, work, archive, refused and rejects are made in it
//	poll: 200ms                       # how often the inbox is looked at; default 200ms
//	batch: 500                        # records per transaction; default 500
//	socket: /run/meridian/filedrop.sock      # optional: serve meridian.facade.v1.FacadeService here, for inspection
//	feeds:                            # files are taken in this order: accounts before what refers to them
//	  - name: companies
//	    files: "companies*.csv"       # pattern of file names in the inbox
//	    mapping: mappings/companies-amer.yaml   # relative to this file
//
// Relative paths are relative to the configuration file. The process needs
// read access to this file, the mappings and the token, and write access to
// its folder; nothing else.
type Config struct {
	Name      string        `yaml:"name"`
	Service   string        `yaml:"service"`
	TokenFile string        `yaml:"token_file"`
	Folder    string        `yaml:"folder"`
	Poll      time.Duration `yaml:"poll"`
	Batch     int           `yaml:"batch"`
	Socket    string        `yaml:"socket,omitempty"`
	Feeds     []FeedConfig  `yaml:"feeds"`
}

// FeedConfig names one feed: which files it takes and how they are read.
type FeedConfig struct {
	Name    string `yaml:"name"`
	Files   string `yaml:"files"`
	Mapping string `yaml:"mapping"`
}

const (
	defaultPoll  = 200 * time.Millisecond
	defaultBatch = 500
)

// ReadConfig reads and checks a configuration and resolves its paths.
func ReadConfig(path string) (Config, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	c := Config{Poll: defaultPoll, Batch: defaultBatch}
	dec := yaml.NewDecoder(bytes.NewReader(content))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&c.TokenFile, &c.Folder, &c.Socket} {
		*p = resolve(dir, *p)
	}
	for i := range c.Feeds {
		c.Feeds[i].Mapping = resolve(dir, c.Feeds[i].Mapping)
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func resolve(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// validate reports the first thing the configuration lacks.
func (c Config) validate() error {
	if u, err := url.Parse(c.Service); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("service: give the instance's address, such as http://127.0.0.1:7001")
	}
	switch {
	case c.Name == "":
		return errors.New("name: name this facade, such as filedrop@amer")
	case c.TokenFile == "":
		return errors.New("token_file: name the file that holds the loader's token")
	case c.Folder == "":
		return errors.New("folder: name the drop folder")
	case c.Poll < 10*time.Millisecond:
		return errors.New("poll: look at most every 10ms")
	case c.Batch < 1 || c.Batch > adapters.MaxBatch:
		return fmt.Errorf("batch: give 1 to %d records", adapters.MaxBatch)
	case len(c.Feeds) == 0:
		return errors.New("feeds: name at least one feed")
	}
	seen := map[string]bool{}
	for i, f := range c.Feeds {
		if f.Name == "" || f.Files == "" || f.Mapping == "" {
			return fmt.Errorf("feeds[%d]: give name, files and mapping", i)
		}
		if seen[f.Name] {
			return fmt.Errorf("feeds[%d]: %s is named twice", i, f.Name)
		}
		seen[f.Name] = true
		if _, err := filepath.Match(f.Files, ""); err != nil {
			return fmt.Errorf("feeds[%d]: files: %q is no pattern", i, f.Files)
		}
	}
	return nil
}

// feed is a configured feed with its mapping.
type feed struct {
	name, files string
	mapping     *mapping.Mapping
}

// feeds reads the mappings of the configuration.
func (c Config) feeds() ([]feed, error) {
	var fs []feed
	for _, f := range c.Feeds {
		m, err := mapping.Read(f.Mapping)
		if err != nil {
			return nil, err
		}
		fs = append(fs, feed{name: f.Name, files: f.Files, mapping: m})
	}
	return fs, nil
}
