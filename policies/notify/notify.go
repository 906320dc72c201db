// Package notify tells others what becomes of held operations, by signed webhooks.
//
// A [Sender] reads the events of holds from where a durable cursor says that it left off, sends each to one address, and
// moves the cursor when the receiver has taken it: nothing is lost by a restart, and an event may come twice. What is sent
// names a request and leads to its page in the console, where whoever is signed in and may can answer. Nothing that is
// sent, and nothing that a receiver says, answers anything.
//
// A message holds no secret: the text of the operation is masked, made visible and cut; the whole of it is in the console.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/sallyport-ssh/sallyport/policies"
)

// Event is one thing that became of a hold.
type Event struct {
	N    int64 // order: each is greater than those before it
	Hold string
	What string // pending, answered, escalated, approved, denied, expired, withdrawn, lost, consumed
	At   time.Time
}

// Log is where events come from, and where a reader's place in them is kept.
type Log interface {
	// Events returns those after a number, in order, at most limit.
	Events(ctx context.Context, after int64, limit int) ([]Event, error)
	// Lease makes owner the one that reads as name until a time, and returns the number of the last event that is done
	// with. It is not ok while somebody else has the lease.
	Lease(ctx context.Context, name, owner string, until time.Time) (after int64, ok bool, err error)
	// Done says that owner has done with the event n.
	Done(ctx context.Context, name, owner string, n int64) error
	// Hold returns one hold as it is now.
	Hold(ctx context.Context, id string) (policies.Hold, error)
	// HoldChanges sends when something may have happened, until ctx ends.
	HoldChanges(ctx context.Context) (<-chan string, error)
}

// Kind is the form of what is sent.
type Kind string

// The kinds.
const (
	Generic Kind = "generic" // our own JSON, signed; see [Verify]
	Slack   Kind = "slack"   // what incoming webhooks of Slack, Mattermost and others take
)

// The names by which an operator chooses what is sent, and the events behind them.
var chosen = map[string][]string{
	"asked":     {"pending"},
	"progress":  {"answered"},
	"escalated": {"escalated"},
	"ended":     {"approved", "denied", "expired", "withdrawn", "lost"},
}

// EventNames are what may stand in Options.Events.
func EventNames() []string { return []string{"asked", "progress", "escalated", "ended"} }

// Options say where to, what, and how. Fields without a default must be set.
type Options struct {
	Name    string   // of the receiver: its place in the events is kept under it
	Gate    string   // names this gate: to the receiver, and among those that share a ledger
	URL     string   // a secret where it authorizes: it is in no error and no log
	Kind    Kind     // default Generic
	Secret  []byte   // signs what is sent; at least 32 bytes for Generic
	Console string   // base URL of the console
	Events  []string // of EventNames; default asked and escalated
	Groups  []string // only requests that one of these may answer; empty: all
	// Mask hides secrets in a text. It must be set.
	Mask func(string) string
	// Allow are the only addresses sent to besides public ones.
	Allow []netip.Prefix
	// Plaintext allows http:// URLs.
	Plaintext bool
	Timeout   time.Duration // of one try; default 10s
	// GiveUp is how old an event may grow before it is dropped. Default 24h.
	GiveUp time.Duration
	Log    *slog.Logger
	// Dropped, if not nil, is told of each event that was given up, and why.
	Dropped func(ctx context.Context, e Event, why error)

	now func() time.Time
}

// Bounds of a sender.
const (
	batch      = 50
	leaseTime  = time.Minute
	poll       = 15 * time.Second // should a change not have been reported
	firstPause = time.Second
	maxPause   = 5 * time.Minute
	minSecret  = 32
)

// A Sender tells one receiver. Run it in a goroutine of its own.
type Sender struct {
	o      Options
	log    Log
	client *http.Client
	what   []string
}

// New checks o.
func New(log Log, o Options) (*Sender, error) {
	if o.Kind == "" {
		o.Kind = Generic
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.GiveUp <= 0 {
		o.GiveUp = 24 * time.Hour
	}
	if len(o.Events) == 0 {
		o.Events = []string{"asked", "escalated"}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.now == nil {
		o.now = time.Now
	}
	s := &Sender{o: o, log: log, client: client(o.Allow, o.Timeout)}
	for _, name := range o.Events {
		s.what = append(s.what, chosen[name]...)
	}
	return s, nil
}

func (o *Options) check() error {
	u, err := url.Parse(o.URL)
	switch {
	case o.Name == "" || o.Gate == "" || o.Console == "":
		return errors.New("a name, a gate and the console's address are needed")
	case o.Mask == nil:
		return errors.New("nothing masks what is sent")
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("its URL is not https://host/path") // which is not repeated: it may be a secret
	case u.Scheme != "https" && (u.Scheme != "http" || !o.Plaintext):
		return errors.New("its URL must begin with https://")
	case o.Kind != Generic && o.Kind != Slack:
		return fmt.Errorf("kind %q is neither generic nor slack", o.Kind)
	case o.Kind == Generic && len(o.Secret) < minSecret:
		return fmt.Errorf("its secret has %d bytes; at least %d are needed", len(o.Secret), minSecret)
	}
	for _, name := range o.Events {
		if chosen[name] == nil {
			return fmt.Errorf("event %q is none of %v", name, EventNames())
		}
	}
	return nil
}

// Run sends until ctx ends. Of several gates that share a ledger one sends at a time.
func (s *Sender) Run(ctx context.Context) {
	for ctx.Err() == nil {
		watch, stop := context.WithCancel(ctx)
		changes, err := s.log.HoldChanges(watch)
		if err != nil {
			changes = nil // look now and then
		}
		s.watch(watch, changes)
		stop()
	}
}

// watch sends what there is whenever something may have happened, until ctx ends or nobody tells of changes any more.
func (s *Sender) watch(ctx context.Context, changes <-chan string) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if err := s.drain(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("webhook: events could not be read", "webhook", s.o.Name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if changes == nil {
				return // try to watch again
			}
		case _, ok := <-changes:
			if !ok {
				changes = nil
			}
		}
	}
}

// drain sends all events that there are.
func (s *Sender) drain(ctx context.Context) error {
	for {
		after, ok, err := s.log.Lease(ctx, s.o.Name, s.o.Gate, s.o.now().Add(leaseTime))
		if err != nil || !ok {
			return err
		}
		events, err := s.log.Events(ctx, after, batch)
		if err != nil || len(events) == 0 {
			return err
		}
		for _, e := range events {
			if err := s.settle(ctx, e); err != nil {
				return err
			}
		}
	}
}

// settle sends one event, trying until it is taken or given up, and moves the cursor past it.
func (s *Sender) settle(ctx context.Context, e Event) error {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := s.deliver(ctx, e)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var refused *refusal
		if errors.As(err, &refused) || err != nil && s.o.now().Sub(e.At) > s.o.GiveUp {
			s.drop(ctx, e, err)
			err = nil
		}
		if err == nil {
			return s.log.Done(ctx, s.o.Name, s.o.Gate, e.N)
		}
		s.o.Log.Warn("webhook: not delivered, trying again", "webhook", s.o.Name, "hold", e.Hold, "event", e.What, "in", pause, "error", err)
		if err := s.pause(ctx, pause); err != nil {
			return err
		}
	}
}

// pause waits, and keeps the lease meanwhile: another gate must not send the same.
func (s *Sender) pause(ctx context.Context, d time.Duration) error {
	for d > 0 {
		step := min(d, leaseTime/2)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
		d -= step
		_, ok, err := s.log.Lease(ctx, s.o.Name, s.o.Gate, s.o.now().Add(leaseTime))
		if err == nil && !ok {
			return errors.New("another gate has taken over")
		}
	}
	return nil
}

func (s *Sender) drop(ctx context.Context, e Event, why error) {
	s.o.Log.Error("webhook: given up", "webhook", s.o.Name, "hold", e.Hold, "event", e.What, "error", why)
	if s.o.Dropped != nil {
		s.o.Dropped(ctx, e, why)
	}
}

// deliver tries once. Nil: it was taken, or there is nothing to tell any more.
func (s *Sender) deliver(ctx context.Context, e Event) error {
	if !slices.Contains(s.what, e.What) {
		return nil
	}
	h, err := s.log.Hold(ctx, e.Hold)
	if errors.Is(err, policies.ErrNoHold) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold %s: %w", e.Hold, err)
	}
	if !s.wanted(e, h) {
		return nil
	}
	m := s.message(e, h)
	body, err := m.encode(s.o.Kind)
	if err != nil {
		return &refusal{err.Error()}
	}
	return s.post(ctx, fmt.Sprintf("%s-%d", e.Hold, e.N), body)
}

// wanted reports whether there still is something to say: nobody is called to a request that has ended.
func (s *Sender) wanted(e Event, h policies.Hold) bool {
	live := slices.Contains([]string{"pending", "answered", "escalated"}, e.What)
	if live && (h.State != policies.StatePending || !s.o.now().Before(h.Expires)) {
		return false
	}
	if len(s.o.Groups) == 0 {
		return true
	}
	return slices.ContainsFunc(h.MayAnswerNow(e.At), func(g string) bool { return slices.Contains(s.o.Groups, g) })
}
