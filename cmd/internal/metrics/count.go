package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-ssh/sallyport/replay"
)

// Handshake counts a connection: "ok", "failed" (nothing was proved), "refused" (proved, and not let in) or
// "turned_away" (before anything was said).
func (m *Metrics) Handshake(result string, took time.Duration) {
	if m == nil {
		return
	}
	m.handshakes.WithLabelValues(m.known(handshakeResults, result)).Inc()
	if result == "ok" {
		m.handshake.Observe(took.Seconds())
	}
}

// Connection counts an authenticated connection that opened (1) or closed (-1).
func (m *Metrics) Connection(delta int) {
	if m != nil {
		m.connections.Add(float64(delta))
	}
}

// Session counts a session that began (1) or ended (-1).
func (m *Metrics) Session(kind string, delta int) {
	if m == nil {
		return
	}
	kind = m.known(sessionKinds, kind)
	m.sessions.WithLabelValues(kind).Add(float64(delta))
	if delta > 0 {
		m.opened.WithLabelValues(kind).Inc()
	}
}

// Decision counts a decision and how long it took.
func (m *Metrics) Decision(action, effect string, took time.Duration) {
	if m == nil {
		return
	}
	m.decisions.WithLabelValues(m.known(m.actions, action), m.known(effects, effect)).Inc()
	m.decision.Observe(took.Seconds())
}

// Held counts an operation that begins to wait (1), or ends it (-1).
func (m *Metrics) Held(delta int) {
	if m != nil {
		m.waiting.Add(float64(delta))
	}
}

// Answered counts how a hold ended.
func (m *Metrics) Answered(outcome string) {
	if m != nil {
		m.holds.WithLabelValues(m.known(outcomes, outcome)).Inc()
	}
}

// Masked counts a value that was masked.
func (m *Metrics) Masked() {
	if m != nil {
		m.masked.Inc()
	}
}

// Alarm counts an alarm of the recorder.
func (m *Metrics) Alarm(a replay.Alarm) {
	if m != nil {
		m.alarms.WithLabelValues(m.known(replay.Alarms, a.What)).Inc()
	}
}

// StoreCall counts a request to the store; see store.Observe.
func (m *Metrics) StoreCall(op string, took time.Duration, err error) {
	if m == nil {
		return
	}
	op = m.known(storeOps, op)
	m.storeCalls.WithLabelValues(op, result(err)).Inc()
	m.storeTime.WithLabelValues(op).Observe(took.Seconds())
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// LedgerCall counts a statement or transaction of the ledger.
func (m *Metrics) LedgerCall(write bool, took time.Duration, err error) {
	if m == nil {
		return
	}
	op := "read"
	if write {
		op = "write"
	}
	m.ledgerTime.WithLabelValues(op).Observe(took.Seconds())
	if err != nil {
		m.ledgerErrs.WithLabelValues(op).Inc()
	}
}

// Purged counts recordings whose time was over.
func (m *Metrics) Purged(removed, kept, failed int) {
	if m == nil {
		return
	}
	m.purged.WithLabelValues("removed").Add(float64(removed))
	m.purged.WithLabelValues("kept").Add(float64(kept))
	m.purged.WithLabelValues("failed").Add(float64(failed))
}

// Sink makes the series of a sink of audit events, which its configuration names.
func (m *Metrics) Sink(name string) {
	if m == nil {
		return
	}
	m.eventsSent.WithLabelValues(name).Add(0)
	m.eventsFail.WithLabelValues(name).Add(0)
	m.eventsLag.WithLabelValues(name).Set(0)
}

// EventsSent counts events that a sink took, and how old the oldest is that it has not.
func (m *Metrics) EventsSent(sink string, n int, behind time.Duration) {
	if m == nil {
		return
	}
	m.eventsSent.WithLabelValues(sink).Add(float64(n))
	m.eventsLag.WithLabelValues(sink).Set(behind.Seconds())
}

// EventsFailed counts an attempt that a sink did not take.
func (m *Metrics) EventsFailed(sink string, behind time.Duration) {
	if m == nil {
		return
	}
	m.eventsFail.WithLabelValues(sink).Inc()
	m.eventsLag.WithLabelValues(sink).Set(behind.Seconds())
}

// Archive has the recorder's own figures read whenever somebody asks.
func (m *Metrics) Archive(stats func() replay.Stats) {
	m.registry.MustRegister(&archive{stats: stats})
}

type archive struct{ stats func() replay.Stats }

// A figure is one number of the archive.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(replay.Stats) float64
}

func figureOf(kind prometheus.ValueType, name, help string, of func(replay.Stats) float64) figure {
	return figure{prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil), kind, of}
}

var figures = []figure{
	figureOf(prometheus.GaugeValue, "recordings_live", "Recordings of sessions that run.", func(s replay.Stats) float64 { return float64(s.Live) }),
	figureOf(prometheus.GaugeValue, "recordings_waiting", "Recordings that have ended and are not yet all in the store and the ledger.", func(s replay.Stats) float64 { return float64(s.Waiting) }),
	figureOf(prometheus.GaugeValue, "recording_behind_seconds", "Age of the oldest recorded byte that is not in the store.", func(s replay.Stats) float64 { return s.Behind.Seconds() }),
	figureOf(prometheus.GaugeValue, "spool_bytes", "Bytes of recordings in the spool.", func(s replay.Stats) float64 { return float64(s.SpoolBytes) }),
	figureOf(prometheus.GaugeValue, "spool_limit_bytes", "How many bytes there may be in the spool.", func(s replay.Stats) float64 { return float64(s.SpoolLimit) }),
	figureOf(prometheus.GaugeValue, "spool_disk_free_bytes", "Bytes free on the spool's disk.", func(s replay.Stats) float64 { return float64(s.DiskFree) }),
	figureOf(prometheus.GaugeValue, "spool_refusing", "1 while new sessions are refused for want of room.", func(s replay.Stats) float64 {
		if s.Refusing {
			return 1
		}
		return 0
	}),
	figureOf(prometheus.CounterValue, "recordings_started_total", "Recordings begun.", func(s replay.Stats) float64 { return float64(s.Started) }),
	figureOf(prometheus.CounterValue, "recordings_sealed_total", "Recordings sealed.", func(s replay.Stats) float64 { return float64(s.Sealed) }),
	figureOf(prometheus.CounterValue, "recording_failures_total", "Attempts to write, flush, seal or ship that failed.", func(s replay.Stats) float64 { return float64(s.Failures) }),
	figureOf(prometheus.CounterValue, "recordings_quarantined_total", "Damaged files that were set aside.", func(s replay.Stats) float64 { return float64(s.Quarantined) }),
	figureOf(prometheus.CounterValue, "segments_shipped_total", "Objects stored.", func(s replay.Stats) float64 { return float64(s.Segments) }),
	figureOf(prometheus.CounterValue, "shipped_bytes_total", "Bytes of recordings stored, before compression.", func(s replay.Stats) float64 { return float64(s.Shipped) }),
}

// Describe is of prometheus.Collector.
func (a *archive) Describe(to chan<- *prometheus.Desc) {
	for _, f := range figures {
		to <- f.desc
	}
}

// Collect is of prometheus.Collector.
func (a *archive) Collect(to chan<- prometheus.Metric) {
	s := a.stats()
	for _, f := range figures {
		to <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(s))
	}
}
