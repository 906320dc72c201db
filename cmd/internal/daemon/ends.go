package daemon

import (
	"context"
	"time"
)

// endOnRequest ends sessions that somebody asked to be ended, here or at another gate of this ledger.
func (d *Daemon) endOnRequest(ctx context.Context) {
	changes, err := d.ledger.EndRequestChanges(ctx)
	if err != nil {
		d.log.Error("requests to end sessions are only looked for now and then", "error", err)
	}
	look := time.NewTicker(2 * time.Second) // a change may be missed while the ledger is away
	defer look.Stop()
	var after int64
	for {
		requests, err := d.ledger.EndRequests(ctx, d.config.Gate.Name, after)
		if err != nil && ctx.Err() == nil {
			d.log.Error("requests to end sessions could not be read", "error", err)
		}
		for _, r := range requests {
			after = r.N
			d.server.Kill(r.SessionID, r.By, r.Reason)
		}
		select {
		case <-ctx.Done():
			return
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		case <-look.C:
		}
	}
}
