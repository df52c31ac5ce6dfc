package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"meridian/cmd/meridian/fleet"
	"meridian/instance/crm"
	"meridian/instance/crm/signed"
	policyv1 "meridian/proto/gen/meridian/policy/v1"
)

// officer is who signs: the private key is read here and never sent.
type officer struct {
	remote
	Key  string `type:"path" env:"MERIDIAN_KEY" placeholder:"FILE" help:"Your private key. In a fleet of this machine: the persona's, in --data/officers. ($$MERIDIAN_KEY)"`
	Days int    `default:"7" help:"For how many days the signature is good, 1 to 31."`
}

// longestDays is what every instance lets a signature be good for.
const longestDays = 31

// private reads the officer's key.
func (o officer) private() (ed25519.PrivateKey, error) {
	path := o.Key
	if path == "" {
		short, _, err := fleet.SplitSubject(o.As)
		if err != nil {
			return nil, crm.FieldErrorf("key", "name the file of your private key: --key FILE")
		}
		path = fleet.OfficerKey(o.Data, short)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, crm.FieldErrorf("key", "there is no key in %s; make one with meridian policy keys new", path)
	}
	if err != nil {
		return nil, err
	}
	return signed.ParsePrivate(text)
}

// sign signs a statement to places.
func (o officer) sign(purpose signed.Purpose, about, proposal string, places ...signed.Place) (*policyv1.Signed, error) {
	if o.Days < 1 || o.Days > longestDays {
		return nil, crm.FieldErrorf("days", "--days %d: a signature is good for 1 to %d days; leave it out for 7", o.Days, longestDays)
	}
	key, err := o.private()
	if err != nil {
		return nil, err
	}
	text, signature := signed.Statement{
		Purpose: purpose, About: about, Proposal: proposal, Places: places,
		Expires: time.Now().AddDate(0, 0, o.Days).UTC().Truncate(time.Second),
	}.Sign(key)
	return &policyv1.Signed{Statement: text, Signature: signature}, nil
}

// at is the same officer at another instance of the fleet.
func (r remote) at(instance string) remote {
	if short, _, err := fleet.SplitSubject(r.As); err == nil {
		r.As = crm.SubjectID(short + "@" + instance)
	}
	r.Instance = instance
	return r
}

// stand is an instance with what is in force there.
type stand struct {
	*clients
	place   signed.Place
	targets []string      // where a rollback may go, the nearest first
	ahead   time.Duration // of its clock before ours
}

// life is what is in force at an instance; a silent one is an error soon.
func (s stand) life(ctx context.Context) (*policyv1.GetLifeResponse, error) {
	return within(ctx, answerWithin, s.place.Instance, func(ctx context.Context) (*policyv1.GetLifeResponse, error) {
		return s.bundles.GetLife(ctx, &policyv1.GetLifeRequest{Limit: 1})
	})
}

// stands asks the named instances, or the caller's own, what is in force.
func (o officer) stands(ctx context.Context, instances []string) ([]stand, error) {
	remotes := []remote{o.remote}
	if len(instances) > 0 {
		remotes = nil
		for _, name := range instances {
			remotes = append(remotes, o.at(name))
		}
	}
	var out []stand
	for _, r := range remotes {
		c, err := r.dial()
		if err != nil {
			return nil, err
		}
		s := stand{clients: c, place: signed.Place{Instance: cmp.Or(r.Instance, r.URL, "the instance")}}
		life, err := s.life(ctx)
		if e, _ := errorOf(err); e != nil && e.Kind == crm.Unavailable {
			return nil, crm.Errorf(crm.Unavailable, "%w; nothing was changed anywhere", err)
		}
		if err != nil {
			return nil, err
		}
		s.place.Instance, s.targets, s.ahead = life.GetInstance(), life.GetTargets(), time.Until(life.GetNow().AsTime())
		for _, a := range life.GetActivations() {
			s.place.After, s.place.Base = a.GetSequence(), a.GetDigest()
		}
		out = append(out, s)
	}
	return out, nil
}

type policyKeysCmd struct {
	New    keysNewCmd    `cmd:"" help:"Make a key pair. The private key stays on this machine."`
	Enroll keysEnrollCmd `cmd:"" help:"Ask a second officer to let a public key in."`
	List   keysListCmd   `cmd:"" help:"List officers' keys."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key for good. One signature."`
}

// Help shows the verbs at work.
func (policyKeysCmd) Help() string {
	return `A key is let in by two officers of two departments: one enrols it, the other approves.

  meridian policy keys new my-key.pem
  meridian policy keys enroll my-key.pem.pub --subject officer.c@amer --department legal --as officer.a@amer
  meridian policy approve 3f2a91c0 --as officer.b@amer
  meridian policy keys revoke 77aa01bc --reason "laptop lost" --as officer.a@amer`
}

type keysNewCmd struct {
	File string `arg:"" type:"path" help:"Where the private key goes; the public one goes beside it, as FILE.pub."`
}

// Run writes the two files; it overwrites none.
func (k keysNewCmd) Run(_ context.Context, out output) error {
	id, err := fleet.NewKeyPair(k.File)
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Stdout, "key %s\n%s      keep it to yourself\n%s.pub  have it enrolled by two officers\n", id, k.File, k.File)
	return nil
}

type keysEnrollCmd struct {
	officer
	Public     string        `arg:"" type:"existingfile" help:"The public key, FILE.pub."`
	Subject    crm.SubjectID `required:"" help:"Whose key it is."`
	Department string        `required:"" help:"Department in which they answer for policy."`
	Until      lastDay       `help:"Last day, as 2027-03-31: the key serves until midnight UTC at its end; a year from now if absent."`
	Note       string        `help:"What it is for."`
}

// Run proposes the key.
func (k keysEnrollCmd) Run(ctx context.Context, out output) error {
	text, err := os.ReadFile(k.Public)
	if err != nil {
		return err
	}
	public, err := signed.ParsePublic(text)
	if err != nil {
		return err
	}
	until := k.Until.end
	switch {
	case until.IsZero():
		until = time.Now().AddDate(1, 0, 0)
	case !time.Now().Before(until):
		return crm.FieldErrorf("until", "%s is over; name today or a day to come, as %s, or leave it out for a year", until.AddDate(0, 0, -1).Format(time.DateOnly),
			time.Now().UTC().AddDate(1, 0, 0).Format(time.DateOnly))
	}
	key := signed.Key{Subject: k.Subject, Department: k.Department, Public: public, Until: until.UTC().Truncate(time.Second)}
	at, err := k.stands(ctx, nil)
	if err != nil {
		return err
	}
	s, err := k.sign(signed.Enroll, key.Digest(), "", at[0].place)
	if err != nil {
		return err
	}
	resp, err := at[0].bundles.ProposeKey(ctx, &policyv1.ProposeKeyRequest{
		Subject: string(k.Subject), Department: k.Department, Public: public, Until: timestamppb.New(key.Until), Note: k.Note, Signed: s,
	})
	if err != nil {
		return err
	}
	if k.JSON {
		return printProto(out.Stdout, resp.GetProposal())
	}
	printProposed(out.Stdout, at[0].place.Instance, resp.GetProposal())
	return nil
}

// printProposed shows a proposal that waits for a second officer.
func printProposed(w io.Writer, instance string, p *policyv1.Proposal) {
	fmt.Fprintf(w, "%s: proposal %s waits for a second officer of another department\n", instance, p.GetId())
	for _, warning := range p.GetReport().GetWarnings() {
		fmt.Fprintf(w, "  warning: %s\n", printable(warning))
	}
}

type keysListCmd struct{ remote }

// Run lists every key, those that are over too.
func (k keysListCmd) Run(ctx context.Context, out output) error {
	c, err := k.dial()
	if err != nil {
		return err
	}
	resp, err := c.bundles.ListKeys(ctx, &policyv1.ListKeysRequest{})
	if err != nil {
		return err
	}
	if k.JSON {
		return printProto(out.Stdout, resp)
	}
	t := table{headings: []string{"KEY", "SUBJECT", "DEPARTMENT", "UNTIL", "BY", "REVOKED"}}
	for _, key := range resp.GetKeys() {
		by := "operator"
		if p := key.GetProposal(); p != "" {
			by = "proposal " + p[:12]
		}
		revoked := ""
		if key.GetRevoked() {
			revoked = "yes: " + clipped(key.GetReason(), 50)
		}
		t.add(key.GetId()[:12], key.GetSubject(), key.GetDepartment(), day(key.GetUntil()), by, revoked)
	}
	t.print(out.Stdout, "no keys")
	return nil
}

type keysRevokeCmd struct {
	officer
	ID     string `arg:"" help:"The key, by the beginning of its id."`
	Reason string `required:"" help:"Why; it is listed."`
}

// Run revokes a key.
func (k keysRevokeCmd) Run(ctx context.Context, out output) error {
	at, err := k.stands(ctx, nil)
	if err != nil {
		return err
	}
	keys, err := at[0].bundles.ListKeys(ctx, &policyv1.ListKeysRequest{})
	if err != nil {
		return err
	}
	id := ""
	for _, key := range keys.GetKeys() {
		if strings.HasPrefix(key.GetId(), k.ID) {
			if id != "" {
				return crm.FieldErrorf("id", "%s is the beginning of more than one key; write more of it", k.ID)
			}
			id = key.GetId()
		}
	}
	if id == "" {
		return crm.Errorf(crm.NotFound, "there is no key %s", k.ID)
	}
	s, err := k.sign(signed.Revoke, signed.Digest(id+"\n"+k.Reason), "", at[0].place)
	if err != nil {
		return err
	}
	if _, err := at[0].bundles.RevokeKey(ctx, &policyv1.RevokeKeyRequest{Id: id, Reason: k.Reason, Signed: s}); err != nil {
		return err
	}
	if k.JSON {
		return printJSON(out.Stdout, map[string]string{"revoked": id})
	}
	fmt.Fprintf(out.Stdout, "key %.12s is revoked\n", id)
	return nil
}
