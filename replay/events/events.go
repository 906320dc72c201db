// Package events tells others what happened at the gates: audit events as JSON in the shape of OCSF, to a file,
// standard output, syslog or a webhook.
//
// Events are read from the ledger, where they stand before anything of them happens, and each sink has a cursor
// there. A cursor moves over what its sink has taken and over nothing else, so events are handed over at least
// once, and none is dropped: not by a sink that is down for a week, not by a gate that dies. What was handed
// over twice has the same metadata.uid.
package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// A Sink takes events. Lines are JSON objects without their newline. Nil means that it has taken all of them, as
// durably as it can say; after an error all of them are sent again. Calls do not overlap.
type Sink interface {
	Send(ctx context.Context, lines [][]byte) error
	Close() error
}

// Options configure an Exporter. Name, Holder, Ledger and Sink are required.
type Options struct {
	Name    string // of the sink: its cursor's, in the ledger
	Holder  string // this gate; one gate at a time serves a sink
	Ledger  *ledger.Ledger
	Sink    Sink
	Version string       // of the program, told in each event
	Log     *slog.Logger // nil: none
	// Sent and Failed hear of every batch and of how old the oldest event is that has not been taken. Nil: nobody.
	Sent   func(events int, behind time.Duration)
	Failed func(behind time.Duration)
	Every  time.Duration // how often the ledger is looked at. Default 1 s
}

// Bounds of an exporter's patience.
const (
	lease      = time.Minute
	maxBackoff = 30 * time.Second
	sendLimit  = 30 * time.Second
)

// An Exporter hands the ledger's events to one sink.
type Exporter struct {
	o Options
	m mapper
}

// NewExporter returns an exporter that does nothing yet.
func NewExporter(o Options) (*Exporter, error) {
	if o.Name == "" || o.Holder == "" || o.Ledger == nil || o.Sink == nil {
		return nil, errors.New("export events: name, holder, ledger and sink are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sent == nil {
		o.Sent = func(int, time.Duration) {}
	}
	if o.Failed == nil {
		o.Failed = func(time.Duration) {}
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	return &Exporter{o: o, m: mapper{version: o.Version}}, nil
}

// Run hands over events until ctx ends. What fails is tried again, for ever.
func (x *Exporter) Run(ctx context.Context) {
	wait, failures := time.Duration(0), 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		n, err := x.Step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ledger.ErrExists): // another gate serves this sink
			wait = lease / 4
		case err != nil:
			if failures++; failures&(failures-1) == 0 { // the first, second, fourth, eighth, ...
				x.o.Log.Error("audit events wait", "sink", x.o.Name, "failures", failures, "error", err)
			}
			wait = min(x.o.Every<<min(failures, 6), maxBackoff)
		default:
			if failures > 0 {
				x.o.Log.Info("audit events go out again", "sink", x.o.Name)
			}
			failures, wait = 0, x.o.Every
			if n > 0 {
				wait = 0 // there may be more
			}
		}
	}
}

// Step hands over one batch, and returns how many events that were.
func (x *Exporter) Step(ctx context.Context) (int, error) {
	now := time.Now()
	from, err := x.o.Ledger.TakeEvents(ctx, x.o.Name, x.o.Holder, now, lease)
	if err != nil {
		return 0, err
	}
	batch, to, err := x.read(ctx, from, now)
	if err != nil {
		return 0, err
	}
	if len(batch) > 0 {
		if err := x.send(ctx, batch); err != nil {
			x.o.Failed(time.Since(batch[0].at))
			return 0, fmt.Errorf("send events: %w", err)
		}
	}
	if to != from {
		if err := x.o.Ledger.EventsTaken(ctx, x.o.Name, x.o.Holder, to); err != nil {
			return 0, err
		}
	}
	behind := time.Duration(0)
	if len(batch) > 0 {
		behind = time.Since(batch[len(batch)-1].at)
	}
	x.o.Sent(len(batch), behind)
	return len(batch), nil
}

func (x *Exporter) send(ctx context.Context, batch []rendered) error {
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	lines := make([][]byte, len(batch))
	for i := range batch {
		lines[i] = batch[i].line
	}
	return x.o.Sink.Send(ctx, lines)
}

// rendered is one event.
type rendered struct {
	at   time.Time
	line []byte
}

// read renders what follows a cursor, in the order of time, and returns the cursor behind it.
func (x *Exporter) read(ctx context.Context, c ledger.EventCursor, now time.Time) ([]rendered, ledger.EventCursor, error) {
	var all []rendered
	var failed error
	add := func(e *event) {
		line, err := e.line()
		failed = errors.Join(failed, err)
		all = append(all, rendered{time.UnixMilli(e.Time), line})
	}
	audit, err := x.o.Ledger.AuditAfter(ctx, c.Audit, now)
	if err != nil {
		return nil, c, err
	}
	for _, e := range audit {
		c.Audit = e.N
		add(x.m.audit(e))
	}
	operations, err := x.o.Ledger.OperationsAfter(ctx, c.Operations)
	if err != nil {
		return nil, c, err
	}
	for _, o := range operations {
		c.Operations = o.N
		add(x.m.operation(o))
	}
	certificates, upTo, err := x.o.Ledger.CertificatesAfter(ctx, c.Certificates)
	if err != nil {
		return nil, c, err
	}
	c.Certificates = upTo
	for _, e := range certificates {
		add(x.m.certificate(e))
	}
	seals, err := x.o.Ledger.SealsToExport(ctx, c.Seals)
	if err != nil {
		return nil, c, err
	}
	for _, s := range seals {
		c.Seals = s.Seal.N
		add(x.m.seal(s))
	}
	slices.SortStableFunc(all, func(a, b rendered) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return all, c, failed
}
