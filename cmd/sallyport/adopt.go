package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/cmd/internal/daemon"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// adoptCmd seals, in the store and in the ledger, the recordings of a gate that never comes back.
type adoptCmd struct {
	placeFlags
	Gate string `arg:"" help:"Name of the gate that is gone for good, as sessions ls shows it." placeholder:"GATE"`
}

// Help is the end of the command's help.
func (*adoptCmd) Help() string {
	return "Where the gate's spool still exists, start a gate on it instead: that loses nothing. The recordings become truncated, because what the gate had not shipped is not there. It needs ca.dir, for a key to seal with. Exit status: 0 all were sealed; 1 some were not; 2 wrong use."
}

func (c *adoptCmd) Run(ctx context.Context, k *kong.Kong) error {
	return c.withLedger(ctx, func(p *place, l *ledger.Ledger) error {
		who := whoRuns()
		failed := 0
		var printing error
		a := &daemon.Adoption{
			Config: p.config, Ledger: l, Event: ledger.Event{Actor: who.key, ActorName: who.name, Source: "local", Detail: who.detail},
			Each: func(session string, seal replay.Seal, err error) {
				text := fmt.Sprintf("sealed as %s with %d bytes", seal.State, seal.Size)
				if err != nil {
					failed++
					text = "NOT sealed: " + err.Error()
				}
				_, perr := fmt.Fprintf(k.Stdout, "%s: %s\n", shown(session), shown(text))
				printing = errors.Join(printing, perr)
			},
		}
		if err := errors.Join(a.Run(ctx, c.Gate), printing); err != nil {
			return fmt.Errorf("adopt: %w", err)
		}
		if failed > 0 {
			return &exitError{1, fmt.Errorf("adopt: %d recordings of %s are not sealed", failed, show(c.Gate))}
		}
		return nil
	})
}
