package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"github.com/sallyport-ssh/sallyport/cmd/internal/config"
	"github.com/sallyport-ssh/sallyport/replay/events"
)

// openEvents makes the sinks of audit events. They are served once the gate runs.
func (d *Daemon) openEvents(context.Context) error {
	for i := range d.config.Events {
		c := &d.config.Events[i]
		sink, err := openSink(c)
		if err != nil {
			return fmt.Errorf("events: %s: %w", c.Name, err)
		}
		x, err := events.NewExporter(events.Options{
			Name: c.Name, Holder: d.config.Gate.Name, Ledger: d.ledger, Sink: sink, Version: version(), Log: d.log,
			Sent:   func(n int, behind time.Duration) { d.metrics.EventsSent(c.Name, n, behind) },
			Failed: func(behind time.Duration) { d.metrics.EventsFailed(c.Name, behind) },
		})
		if err != nil {
			return err
		}
		d.metrics.Sink(c.Name)
		d.exporters = append(d.exporters, x)
		d.openers = append(d.openers, sink.Close)
	}
	return nil
}

// serveEvents hands events over until ctx ends; what is left then goes out when the gate runs again.
func (d *Daemon) serveEvents(ctx context.Context) {
	for _, x := range d.exporters {
		d.wg.Go(func() { x.Run(ctx) })
	}
}

func openSink(c *config.Events) (events.Sink, error) {
	switch {
	case c.File != "":
		return events.OpenFile(c.File)
	case c.Syslog != nil:
		t, err := clientTLS(c.Syslog.CAFile, c.Syslog.TLSCert, c.Syslog.TLSKey)
		if err != nil {
			return nil, err
		}
		return events.NewSyslog(events.SyslogOptions{Network: c.Syslog.Network, Address: c.Syslog.Address, TLS: t})
	case c.Webhook != nil:
		secret, err := os.ReadFile(c.Webhook.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
		t, err := clientTLS(c.Webhook.CAFile, "", "")
		if err != nil {
			return nil, err
		}
		return events.NewWebhook(c.Webhook.URL, bytes.TrimSpace(secret), t)
	}
	return events.Stream{W: os.Stdout}, nil
}

// clientTLS trusts the authorities in a file, or the system's, and proves itself where it has something.
func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		text, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate", caFile)
		}
	}
	if certFile != "" {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("tls_cert: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
