package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/crm"
	"meridian/instance/identity"
)

type tokenCmd struct {
	As   crm.SubjectID `required:"" placeholder:"PERSONA@INSTANCE" help:"Whose token: rep.west@amer."`
	Data string        `default:"./.meridian" env:"MERIDIAN_DATA" help:"Data folder of the fleet."`
	Life time.Duration `default:"24h" help:"How long the token is good for, at most 24h."`
}

// Run prints one token and nothing else, so that it can be put in a variable.
func (t tokenCmd) Run(out output) error {
	token, err := issueToken(t.Data, t.As, t.Life)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out.Stdout, token)
	return err
}

// issueToken signs a token of a subject with the keys of the data folder.
func issueToken(data string, as crm.SubjectID, life time.Duration) (string, error) {
	_, instance, err := fleet.SplitSubject(as)
	if err != nil {
		return "", err
	}
	keys := fleet.KeysIn(data)
	if _, err := os.Stat(keys); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there are no keys in %s: start the fleet with meridian up, or name its folder with --data", data)
	}
	issuer, err := identity.NewIssuer(keys)
	if err != nil {
		return "", err
	}
	return issuer.Issue(as, instance, life)
}

// endpoint is where an instance of the fleet in a data folder is served.
func endpoint(data, instance string) (string, error) {
	return fleet.Endpoint(data, instance)
}
