// Package daemon makes a gate out of a configuration: it builds the rooms' parts, joins them, runs them
// and stops them in order. `sallyport serve` and `sallyport dev` both run what it makes.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/cmd/internal/metrics"
	"github.com/sallyport-ssh/sallyport/filters/sql/child"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/policies/notify"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/console"
	"github.com/sallyport-ssh/sallyport/replay/events"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
	"github.com/sallyport-ssh/sallyport/sshd"
)

// Options are what a configuration does not say.
type Options struct {
	Log *slog.Logger
	// Handlers are served beside the console and the certificate endpoint, by path prefix.
	Handlers map[string]http.Handler
}

// A Daemon is a running gate.
type Daemon struct {
	config    *config.Config
	log       *slog.Logger
	ledger    *ledger.Ledger
	authority *certs.Authority
	verifier  *certs.Verifier
	engine    *policies.Engine
	desk      *policies.Desk
	archive   *replay.Archive
	reels     *reel.Shelf
	alarms    alarms
	library   *replay.Library // the same recordings, for the gate's own housekeeping
	targets   *sshd.Directory
	openers   []func() error // to close, in order
	parser    *child.Pool    // of SQL; nil without targets that need it
	gate      *sshd.Gate
	server    *sshd.Server
	console   *console.Console
	revoked   *revocations
	senders   []*notify.Sender
	metrics   *metrics.Metrics
	exporters []*events.Exporter

	sshListener, httpListener, metricsListener net.Listener
	web, metricsWeb                            *http.Server
	wg                                         sync.WaitGroup
	failed                                     chan error
	cancel                                     context.CancelFunc
}

// Start builds everything, listens and serves. An error leaves nothing running. C is not changed later.
func Start(ctx context.Context, c *config.Config, o Options) (d *Daemon, err error) {
	d = &Daemon{config: c, log: o.Log, metrics: metrics.New(version(), policies.Actions()), failed: make(chan error, 3)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close(context.WithoutCancel(ctx)))
			d = nil
		}
	}()
	// Listening comes first: a port that is taken is the likeliest thing to be wrong, and costs nothing.
	for _, step := range []func(context.Context) error{
		d.listen, d.openLedger, d.openAuthority, d.loadPolicies, d.openArchive, d.openTargets, d.openServer, d.openEvents,
	} {
		if err := step(ctx); err != nil {
			return d, err
		}
	}
	if err := d.openWeb(o.Handlers); err != nil {
		return d, err
	}
	d.serve()
	return d, nil
}

func (d *Daemon) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if d.sshListener, err = lc.Listen(ctx, "tcp", d.config.SSH.Listen); err != nil {
		return fmt.Errorf("ssh.listen: %w", explainListen(err))
	}
	if d.httpListener, err = lc.Listen(ctx, "tcp", d.config.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", explainListen(err))
	}
	if d.config.Metrics.Listen != "" {
		if d.metricsListener, err = lc.Listen(ctx, "tcp", d.config.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", explainListen(err))
		}
	}
	return nil
}

func (d *Daemon) openLedger(ctx context.Context) error {
	l, err := ledger.Open(ctx, d.config.Ledger.URL)
	if err != nil {
		return err
	}
	d.ledger = l
	l.Observe(d.metrics.LedgerCall)
	d.revoked = newRevocations(l, d.log)
	return d.revoked.refresh(ctx)
}

func (d *Daemon) loadPolicies(ctx context.Context) error {
	set, err := loadSet(d.config.Policies)
	if err != nil {
		return err
	}
	d.engine = policies.NewEngine(set)
	d.desk = policies.NewDesk(d.ledger, d.config.Gate.Name)
	return d.desk.Sweep(ctx)
}

func loadSet(paths []string) (*policies.Set, error) {
	if len(paths) == 0 {
		return policies.Parse(policies.Default()...)
	}
	return policies.Load(paths...)
}

// Reload reads the policies again. A set that does not load changes nothing.
func (d *Daemon) Reload() error {
	set, err := loadSet(d.config.Policies)
	if err != nil {
		d.gate.RefusePolicies(err)
		d.metrics.Policies(d.engine.Set().Len(), true)
		d.audit(context.Background(), "policies.refused", map[string]any{"problem": shortened(err.Error())})
		return err
	}
	d.gate.SetPolicies(set)
	d.metrics.Policies(set.Len(), false)
	d.log.Info("policies reloaded", "policies", set.Len())
	for _, p := range set.Check() {
		d.log.Warn("policies: " + p.Error())
	}
	d.audit(context.Background(), "policies.reloaded", map[string]any{"policies": set.Len()})
	return nil
}

// shortened keeps a text small enough to be stored with an event.
func shortened(s string) string {
	const most = 4 << 10
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// SSHAddr and HTTPAddr are where the daemon listens.
func (d *Daemon) SSHAddr() net.Addr { return d.sshListener.Addr() }

// HTTPAddr is where the console and the certificate endpoint are.
func (d *Daemon) HTTPAddr() net.Addr { return d.httpListener.Addr() }

// Authority is the certificate authority of this daemon.
func (d *Daemon) Authority() *certs.Authority { return d.authority }

func (d *Daemon) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.wg.Go(func() {
		if err := d.server.Serve(d.sshListener); !errors.Is(err, sshd.ErrServerClosed) {
			d.failed <- fmt.Errorf("ssh: %w", err)
		}
	})
	d.wg.Go(func() {
		err := d.web.Serve(d.httpListener)
		if d.config.HTTP.TLSCert != "" {
			err = d.web.ServeTLS(d.httpListener, d.config.HTTP.TLSCert, d.config.HTTP.TLSKey)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			d.failed <- fmt.Errorf("http: %w", err)
		}
	})
	d.serveMetrics()
	d.serveEvents(ctx)
	d.wg.Go(func() { d.revoked.run(ctx) })
	d.wg.Go(func() { d.endOnRequest(ctx) })
	d.wg.Go(func() { d.watchPolicies(ctx) })
	d.wg.Go(func() { d.readRecordings(ctx) })
	d.wg.Go(func() { d.purgeLoop(ctx) })
	for _, s := range d.senders {
		d.wg.Go(func() { s.Run(ctx) })
	}
}

// stopTimeout bounds an orderly stop: sessions are told, recordings sealed and shipped.
const stopTimeout = 20 * time.Second

// Wait returns when ctx ends or a listener failed, after everything has stopped.
func (d *Daemon) Wait(ctx context.Context) error {
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.failed:
	}
	return errors.Join(err, d.Close(ctx))
}

// Close stops everything in order, whether or not ctx has ended, within stopTimeout.
func (d *Daemon) Close(ctx context.Context) error {
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return d.close(stop)
}

// close stops what was started, in the reverse order: no new sessions, then the recordings, then what
// they are kept in.
func (d *Daemon) close(ctx context.Context) error {
	var errs []error
	if d.server != nil {
		errs = append(errs, d.server.Shutdown(ctx))
	}
	if d.web != nil {
		errs = append(errs, shutdownWeb(ctx, d.web))
	}
	if d.metricsWeb != nil {
		errs = append(errs, shutdownWeb(ctx, d.metricsWeb))
	}
	for _, l := range []net.Listener{d.sshListener, d.httpListener, d.metricsListener} {
		if l != nil {
			l.Close()
		}
	}
	if d.console != nil {
		errs = append(errs, d.console.Close())
	}
	if d.cancel != nil {
		d.cancel()
	}
	d.wg.Wait()
	for _, closeTarget := range d.openers {
		errs = append(errs, closeTarget())
	}
	if d.reels != nil {
		errs = append(errs, d.reels.Close())
	}
	if d.parser != nil {
		errs = append(errs, d.parser.Close())
	}
	if d.archive != nil {
		errs = append(errs, d.archive.Close(ctx))
	}
	if d.authority != nil {
		errs = append(errs, d.authority.Close())
	}
	if d.ledger != nil {
		errs = append(errs, d.ledger.Close())
	}
	return errors.Join(errs...)
}

// shutdownWeb lets requests finish for a moment; streams of events would go on for ever.
func shutdownWeb(ctx context.Context, s *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.Close()
}
