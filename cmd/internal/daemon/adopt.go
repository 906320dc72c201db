package daemon

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// An Adoption seals what a gate left that never comes back.
type Adoption struct {
	Config *config.Config
	Ledger *ledger.Ledger
	Event  ledger.Event // who does it
	Each   func(session string, seal replay.Seal, err error)
}

// Run adopts every session of a gate that has no end, with the recordings that the store has of them.
func (a *Adoption) Run(ctx context.Context, gate string) error {
	authority, err := certs.OpenAuthority(a.Config.CA.Dir, certs.Options{})
	if err != nil {
		return fmt.Errorf("ca.dir: %w", err)
	}
	defer authority.Close()
	st, err := OpenStore(ctx, &a.Config.Recordings)
	if err != nil {
		return fmt.Errorf("recordings: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.RecordRoot())
	lib := &replay.Library{Store: st, Roots: roots}
	d := &Daemon{ledger: a.Ledger}
	for _, state := range []ledger.State{ledger.Lost, ledger.Live} {
		var ids []string
		for cursor := ""; ; {
			page, next, err := a.Ledger.Sessions(ctx, ledger.SessionFilter{Gate: gate, State: state, Limit: ledger.MaxLimit, Cursor: cursor})
			if err != nil {
				return err
			}
			for _, s := range page {
				ids = append(ids, s.ID)
			}
			if cursor = next; next == "" {
				break
			}
		}
		for _, id := range ids {
			seal, err := lib.Adopt(ctx, id, recorder{authority}, keep(&a.Config.Recordings))
			if err == nil {
				err = a.writeDown(ctx, d, gate, seal)
			}
			a.Each(id, seal, err)
		}
	}
	return nil
}

func (a *Adoption) writeDown(ctx context.Context, d *Daemon, gate string, seal replay.Seal) error {
	e := a.Event
	e.Kind, e.Gate, e.SessionID = "recording.adopted", gate, seal.Session
	if err := a.Ledger.AddAudit(ctx, e); err != nil {
		return err
	}
	return d.sealed(ctx, seal)
}
