package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/notify"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// openApprovals joins desk, roster and what was approved in advance.
func (d *Daemon) openApprovals() error {
	roster, err := d.config.Roster()
	if err != nil {
		return err
	}
	d.gate.OnCall(roster)
	d.desk.OnCall(roster)
	d.desk.InAdvance(d.ledger, d.stillMay)
	return nil
}

// stillMay says whether who approved something in advance still may: their identity was not revoked since,
// and the policies in force let them.
func (d *Daemon) stillMay(a policies.Advance, h policies.Hold) error {
	if d.revoked.since(a.By.Key, a.Made) {
		return errors.New("their identity was revoked since")
	}
	return d.gate.StillMay(a.By, h)
}

// since reports whether an identity was revoked after a time.
func (r *revocations) since(key string, at time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.identities[key].After(at)
}

// openWebhooks makes the senders of the configuration.
func (d *Daemon) openWebhooks(masks *mask.Engine) error {
	hide := func(text string) string {
		st := masks.Stream(mask.StreamOptions{})
		return string(st.Close(st.Append(nil, []byte(text))))
	}
	for i, w := range d.config.Webhooks {
		o, err := d.webhook(w)
		if err != nil {
			return fmt.Errorf("webhooks[%d] (%s): %w", i, w.Name, err)
		}
		o.Mask = hide
		s, err := notify.New(holdEvents{d.ledger}, o)
		if err != nil {
			return fmt.Errorf("webhooks[%d] (%s): %w", i, w.Name, err)
		}
		d.senders = append(d.senders, s)
		d.metrics.Webhook(w.Name)
	}
	return nil
}

func (d *Daemon) webhook(w config.Webhook) (notify.Options, error) {
	o := notify.Options{
		Name: w.Name, Gate: d.config.Gate.Name, URL: w.URL, Kind: notify.Kind(w.Kind), Console: d.config.HTTP.URL,
		Events: w.Events, Groups: w.Groups, Plaintext: w.InsecurePlaintext, Timeout: w.Timeout.D(), Log: d.log, Dropped: d.dropped(w.Name),
	}
	var err error
	if o.Allow, err = w.Networks(); err != nil {
		return o, err
	}
	if w.URLFile != "" {
		url, err := os.ReadFile(w.URLFile)
		if err != nil {
			return o, err
		}
		o.URL = string(bytes.TrimSpace(url))
	}
	if w.SecretFile != "" {
		secret, err := os.ReadFile(w.SecretFile)
		if err != nil {
			return o, err
		}
		o.Secret = bytes.TrimRight(secret, "\r\n")
	}
	return o, nil
}

// dropped makes an event of what a webhook has given up.
func (d *Daemon) dropped(name string) func(context.Context, notify.Event, error) {
	return func(ctx context.Context, e notify.Event, why error) {
		d.metrics.WebhookDropped(name)
		d.audit(ctx, "webhook.dropped", map[string]any{"webhook": name, "hold": e.Hold, "event": e.What, "why": why.Error()})
	}
}

// audit stores an event of the gate's own.
func (d *Daemon) audit(ctx context.Context, kind string, detail map[string]any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := d.ledger.AddAudit(ctx, ledger.Event{Kind: kind, Gate: d.config.Gate.Name, Detail: detail}); err != nil {
		d.log.Error("audit event could not be stored", "kind", kind, "error", err)
	}
}

// holdEvents is the ledger as webhooks see it.
type holdEvents struct{ *ledger.Ledger }

// Events implements [notify.Log].
func (l holdEvents) Events(ctx context.Context, after int64, limit int) ([]notify.Event, error) {
	all, err := l.HoldEvents(ctx, after, limit)
	out := make([]notify.Event, len(all))
	for i, e := range all {
		out[i] = notify.Event{N: e.N, Hold: e.Hold, What: e.Event, At: e.At}
	}
	return out, err
}

// Lease implements [notify.Log].
func (l holdEvents) Lease(ctx context.Context, name, owner string, until time.Time) (int64, bool, error) {
	return l.LeaseReader(ctx, name, owner, until)
}

// Done implements [notify.Log].
func (l holdEvents) Done(ctx context.Context, name, owner string, n int64) error {
	return l.AdvanceReader(ctx, name, owner, n)
}
