package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/sallyport-ssh/sallyport/integration/real"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/store"
)

// tally is a line of the table that `make bench` prints of the faults that were survived.
type tally struct {
	Fault    string `json:"fault"`
	Times    int    `json:"times"`
	Sessions int    `json:"sessions"`
	Bytes    int64  `json:"bytes"` // that were acknowledged
	Lost     int64  `json:"lost"`  // of these, not in the record
	False    int    `json:"false"` // sealed as complete, and not
	Told     string `json:"told"`  // what told the operator, or the verdict afterwards
}

// book checks the line, and adds it to the table where one is wanted.
func (s tally) book(t testing.TB) {
	t.Helper()
	if s.Lost != 0 || s.False != 0 || s.Bytes == 0 || s.Sessions == 0 {
		t.Errorf("%+v", s)
	}
	name := os.Getenv("SALLYPORT_FAULT_TABLE")
	if name == "" {
		return
	}
	b, err := json.Marshal(s)
	must(t, err)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	_, err = f.Write(append(b, '\n'))
	must(t, err)
	must(t, f.Close())
}

// A proxy stands between the gate and a real MinIO, and can be mean.
type proxy struct {
	addr string
	mean atomic.Pointer[func(w http.ResponseWriter, r *http.Request, pass http.Handler)]
}

func newProxy(t *testing.T, to string) *proxy {
	p := &proxy{}
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to}) // keeps Host, which is signed
	pass.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if mean := p.mean.Load(); mean != nil {
			(*mean)(w, r, pass)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	p.addr = s.Listener.Addr().String()
	return p
}

func (p *proxy) be(mean func(w http.ResponseWriter, r *http.Request, pass http.Handler)) {
	p.mean.Store(&mean)
}
func (p *proxy) behave() { p.mean.Store(nil) }

// refuse answers as S3 does.
func refuse(status int, code string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
	}
}

// remote is a gate whose recordings go to a real MinIO through a proxy.
type remote struct {
	*house
	t      *testing.T
	minio  *real.MinIO
	proxy  *proxy
	bucket string
	secret string // file
}

func newRemote(t *testing.T, m *real.MinIO, bucket string) *remote {
	t.Helper()
	m.Bucket(t, bucket, minio.MakeBucketOptions{})
	dir := t.TempDir()
	r := &remote{t: t, minio: m, proxy: newProxy(t, m.Addr), bucket: bucket, secret: filepath.Join(dir, "secret")}
	must(t, os.WriteFile(filepath.Join(dir, "access"), []byte(real.User), 0o600))
	must(t, os.WriteFile(r.secret, []byte(real.Password), 0o600))
	st, err := store.OpenS3(t.Context(), store.S3Options{
		Endpoint: r.proxy.addr, Bucket: bucket, Plaintext: true, PathStyle: true, Region: "us-east-1", Timeout: 700 * time.Millisecond,
		AccessKeyFile: filepath.Join(dir, "access"), SecretKeyFile: r.secret,
	})
	must(t, err)
	r.house = newHouse(t, func(o *replay.Options) { o.Store = st })
	return r
}

// A storeFault is something that happens to the store, and its end.
type storeFault struct {
	name   string
	begin  func(*remote)
	end    func(*remote)
	silent bool // nothing fails: only the lag tells
}

var storeFaults = []storeFault{
	{name: "store stopped", begin: func(r *remote) { r.minio.Stop() }, end: func(r *remote) { r.minio.Start(r.t) }},
	{name: "store answers 503", begin: func(r *remote) { r.proxy.be(refuse(503, "SlowDown")) }},
	{name: "store answers 403", begin: func(r *remote) { r.proxy.be(refuse(403, "AccessDenied")) }},
	{name: "clocks of gate and store differ", begin: func(r *remote) { r.proxy.be(refuse(403, "RequestTimeTooSkewed")) }},
	{name: "store slow", silent: true, begin: func(r *remote) {
		r.proxy.be(func(w http.ResponseWriter, q *http.Request, pass http.Handler) {
			select {
			case <-time.After(300 * time.Millisecond):
				pass.ServeHTTP(w, q)
			case <-q.Context().Done():
			}
		})
	}},
	{name: "store a black hole", begin: func(r *remote) {
		r.proxy.be(func(_ http.ResponseWriter, q *http.Request, _ http.Handler) {
			_, _ = io.Copy(io.Discard, q.Body) // a server notices that its client is gone only behind the body
			<-q.Context().Done()
		})
	}},
	{name: "stored, and reported as failed", begin: func(r *remote) {
		r.proxy.be(func(w http.ResponseWriter, q *http.Request, pass http.Handler) {
			pass.ServeHTTP(httptest.NewRecorder(), q)
			refuse(500, "InternalError")(w, q, pass)
		})
	}},
	{name: "bucket deleted", begin: func(r *remote) {
		must(r.t, r.minio.Admin(r.t).RemoveBucketWithOptions(r.t.Context(), r.bucket, minio.RemoveBucketOptions{ForceDelete: true}))
	}, end: func(r *remote) { r.minio.Bucket(r.t, r.bucket, minio.MakeBucketOptions{}) }},
	{name: "credentials rotated", begin: func(r *remote) {
		r.minio.Stop()
		r.minio.Secret = "the-next-password"
		r.minio.Start(r.t)
	}, end: func(r *remote) { must(r.t, os.WriteFile(r.secret, []byte("the-next-password"), 0o600)) }},
}

// TestStoreFaults: whatever happens to the store, sessions go on, end and begin; it is told at the time; and
// when it is over the store has every byte.
func TestStoreFaults(t *testing.T) {
	shared := real.StartMinIO(t, false)
	for i, f := range storeFaults {
		t.Run(f.name, func(t *testing.T) {
			m := shared
			if f.name == "store stopped" || f.name == "credentials rotated" {
				m = real.StartMinIO(t, false)
			}
			t.Parallel()
			r := newRemote(t, m, fmt.Sprintf("fault%d", i))
			r.survive(f).book(t)
		})
	}
}

// said is how much each session has put out and was acknowledged.
type said map[string]int

func (s said) say(t *testing.T, r *replay.Recording, id string, n int) {
	t.Helper()
	must(t, r.Output(replay.Stdout, content(id, s[id], n)))
	s[id] += n
}

func (r *remote) survive(f storeFault) tally {
	t := r.t
	t.Helper()
	acked := said{}
	through, ends, begins := "through1", "endswith1", "begins01"
	long, short := r.start(t, through), r.start(t, ends)
	acked.say(t, long, through, 100<<10)
	acked.say(t, short, ends, 3000)
	eventually(t, "something is in the store", func() bool { return r.Stats().Segments > 1 })
	f.begin(r)
	acked.say(t, long, through, 50<<10)
	acked.say(t, short, ends, 3000)
	_, err := short.End(t.Context(), replay.End{Reason: "exit"})
	must(t, err)
	late := r.start(t, begins)
	acked.say(t, late, begins, 3000)
	told := "lag"
	if f.silent {
		eventually(t, "the lag shows", func() bool { return r.Stats().Behind > 200*time.Millisecond })
	} else {
		told = "lag, alarm"
		eventually(t, "the alarm and the lag show", func() bool { return r.alarm("ship").Load() > 0 && r.Stats().Behind > 500*time.Millisecond })
	}
	r.proxy.behave()
	if f.end != nil {
		f.end(r)
	}
	acked.say(t, long, through, 3000)
	for _, rec := range []*replay.Recording{long, late} {
		_, err := rec.End(t.Context(), replay.End{Reason: "exit"})
		must(t, err)
	}
	eventually(t, "the spool is empty", func() bool { return len(r.spooled(t)) == 0 })
	return r.count(tally{Fault: f.name, Times: 1, Told: told}, acked, cast.Complete)
}

// count holds what the store has against what was acknowledged.
func (h *house) countIn(t *testing.T, s tally, acked said, want cast.State) tally {
	t.Helper()
	for id, n := range acked {
		s.Sessions++
		s.Bytes += int64(n)
		h.verify(t, id, want)
		got := stdout(t, h.read(t, id))
		whole := len(got) >= n && bytes.Equal(got, content(id, 0, len(got)))
		if !whole {
			s.Lost += int64(n)
			if want == cast.Complete {
				s.False++
			}
		}
	}
	return s
}

func (r *remote) count(s tally, acked said, want cast.State) tally {
	return r.countIn(r.t, s, acked, want)
}

// TestShipsInFiveSeconds: with the times of production, what is recorded is in a real store within five seconds,
// and Stats tells how far behind it is.
func TestShipsInFiveSeconds(t *testing.T) {
	m := real.StartMinIO(t, false)
	m.Bucket(t, "lag", minio.MakeBucketOptions{})
	st, err := store.OpenS3(t.Context(), store.S3Options{Endpoint: m.Addr, Bucket: "lag", Plaintext: true, PathStyle: true, AccessKey: real.User, SecretKey: real.Password})
	must(t, err)
	h := newHouse(t, func(o *replay.Options) { o.Store, o.Checkpoint, o.ShipAfter = st, 0, 0 })
	r := h.start(t, id1)
	begun := time.Now()
	must(t, r.Output(replay.Stdout, []byte("seen by the client")))
	if s := h.Stats(); s.Behind <= 0 {
		t.Errorf("behind by %v while nothing is stored", s.Behind)
	}
	lib := &replay.Library{Store: st, Roots: h.signer.roots}
	worst := time.Duration(0)
	eventually(t, "it is in the store", func() bool {
		worst = max(worst, h.Stats().Behind)
		rep, err := lib.Verify(context.Background(), id1, "")
		return err == nil && rep.Counts.Bytes == 18
	})
	t.Logf("in the store after %v; the metric said at most %v", time.Since(begun).Round(time.Millisecond), worst.Round(time.Millisecond))
	_, err = r.End(t.Context(), replay.End{})
	must(t, err)
}
