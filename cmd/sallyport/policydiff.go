package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

type policyDiffCmd struct {
	placeFlags
	Old      string `arg:"" help:"Policy file or directory, or the word default." placeholder:"OLD"`
	New      string `arg:"" help:"The same, to compare with." placeholder:"NEW"`
	Days     int    `help:"Replay the operations of so many days." default:"7" placeholder:"N"`
	Examples int    `help:"So many examples of each change." default:"3" placeholder:"N"`
	JSON     bool   `help:"Print one JSON object." name:"json"`
}

// Help is the end of the command's help.
func (policyDiffCmd) Help() string {
	return "Operations are replayed as their text is understood now, with the other facts that were written down (and with those alone where a secret in the text was masked), and on targets with the labels that the configuration gives them now. " +
		"Exit status: 0 nothing would be decided otherwise; 1 something would; 2 wrong use, or policies or ledger cannot be read."
}

// Run replays operations under both sets, and exits with 1 if one is decided otherwise.
func (c *policyDiffCmd) Run(ctx context.Context, k *kong.Context) error {
	if c.Days < 1 || c.Examples < 0 {
		return &exitError{exitUsage, fmt.Errorf("--days %d --examples %d shows nothing; give positive numbers", c.Days, c.Examples)}
	}
	old, err := setOf(c.Old)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	new, err := setOf(c.New)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	compared := policies.Compare(old, new, c.Examples)
	err = c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		past := &past{l: l, names: names{p.config}, facts: newRereader(), sessions: map[string]*ledger.Session{}}
		defer past.facts.close()
		return past.each(ctx, time.Now().AddDate(0, 0, -c.Days), compared.Add)
	})
	switch {
	case err != nil:
		return &exitError{exitUsage, err}
	case c.JSON:
		err = printJSON(k.Stdout, map[string]any{
			"days": c.Days, "replayed": compared.Replayed, "changed": compared.Changed, "unknown": compared.Unknown, "changes": compared.Changes(),
		})
	default:
		compared.Write(k.Stdout)
	}
	if err == nil && compared.Changed > 0 {
		err = &exitError{code: 1}
	}
	return err
}

// setOf loads policies by path, or those in the binary.
func setOf(path string) (*policies.Set, error) {
	if path == "default" {
		return policies.Parse(policies.Default()...)
	}
	return policies.Load(path)
}

// past reads operations from the ledger as they can be decided on again.
type past struct {
	l        *ledger.Ledger
	names    names
	facts    *rereader
	sessions map[string]*ledger.Session // nil: gone
}

func (p *past) each(ctx context.Context, since time.Time, yield func(policies.Past)) error {
	f := ledger.OperationFilter{Since: since, Limit: ledger.MaxLimit}
	for {
		ops, next, err := p.l.SearchOperations(ctx, f)
		if err != nil {
			return err
		}
		for _, op := range ops {
			s, err := p.session(ctx, op.SessionID)
			if err != nil {
				return err
			}
			if s == nil {
				continue
			}
			if op.Action, op.Facts, err = p.facts.read(ctx, op); err != nil {
				return err
			}
			yield(policies.Past{ID: op.ID, Session: op.SessionID, At: op.Time, Text: op.Text, Request: p.request(op, s)})
		}
		if next == "" {
			return nil
		}
		f.Cursor = next
	}
}

func (p *past) session(ctx context.Context, id string) (*ledger.Session, error) {
	if s, known := p.sessions[id]; known {
		return s, nil
	}
	s, err := p.l.Session(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		p.sessions[id] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p.sessions[id] = &s
	return &s, nil
}

func (p *past) request(op ledger.Operation, s *ledger.Session) policies.Request {
	t := policies.Target{Name: s.Target, Kind: s.TargetKind}
	if now, ok := p.names.Target(s.Target); ok {
		t.Labels = now.Labels
	}
	who := principalOf(s.Identity)
	if s.OnBehalfOf != nil {
		behalf := principalOf(*s.OnBehalfOf)
		who.OnBehalfOf = &behalf
	}
	return policies.Request{Principal: who, Action: op.Action, Target: t, Context: op.Facts}
}

func principalOf(id ledger.Identity) policies.Principal {
	return policies.Principal{Key: id.Key(), Name: id.Name, Email: id.Email, Kind: id.Kind, Groups: id.Groups}
}
