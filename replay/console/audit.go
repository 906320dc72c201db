package console

import (
	"context"
	"errors"
	"fmt"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// audit writes what v does, before it is done.
func (c *Console) audit(ctx context.Context, v Viewer, kind string, s ledger.Session, detail map[string]any) error {
	err := c.o.Audit.AddAudit(ctx, ledger.Event{
		At: c.now(), Kind: kind, Gate: c.o.GateName, Actor: v.Principal.Key, ActorName: v.Principal.Name, Source: v.Addr,
		SessionID: s.ID, Target: s.Target, Detail: detail,
	})
	if err != nil {
		return fmt.Errorf("audit %s: %w", kind, err)
	}
	return nil
}

// refused notes that somebody tried what the gate does not let them. It is told on as it came: a no is a
// no whether or not it could be written down.
func (c *Console) refused(ctx context.Context, v Viewer, s ledger.Session, err error) error {
	var r *Refusal
	if !errors.As(err, &r) {
		return err
	}
	e := ledger.Event{
		At: c.now(), Kind: "console.refused", Gate: c.o.GateName, Actor: v.Principal.Key, ActorName: v.Principal.Name,
		Source: v.Addr, SessionID: s.ID, Target: s.Target, Denied: true, Detail: map[string]any{"action": r.Action},
	}
	if werr := c.o.Audit.AddAudit(ctx, e); werr != nil {
		c.log().ErrorContext(ctx, "console: refusal not audited", "err", werr)
	}
	return err
}
