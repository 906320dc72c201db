package main

import (
	"context"
	"io"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// approvalsCmd looks at requests. It answers none: that takes a certificate, at the gate itself.
type approvalsCmd struct {
	Ls approvalsLsCmd `cmd:"" help:"List what waits. Answer with ssh gate@GATE approve ID: it takes a certificate of your own."`
}

type approvalsLsCmd struct {
	placeFlags
	JSON bool `help:"Print one JSON array." name:"json"`
}

// Run lists what waits.
func (c *approvalsLsCmd) Run(ctx context.Context, k *kong.Context) error {
	return c.withLedger(ctx, func(_ *place, l *ledger.Ledger) error {
		holds, err := policies.NewDesk(l, "").Pending(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return printJSON(k.Stdout, sshd.HoldRows(holds))
		}
		return columns(k.Stdout, func(w io.Writer) { sshd.WriteHolds(w, holds) })
	})
}
