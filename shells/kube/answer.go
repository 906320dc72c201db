package kube

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/sallyport-ssh/sallyport/filters/kube"
)

// returned are the headers of an answer that reach the client.
var returned = []string{"Content-Type", "Cache-Control", "Etag", "Last-Modified", "Retry-After", "Warning", "Audit-Id", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"}

// forward sends the request and shows the answer, and says whether the client has the whole of it.
func (p *proxy) forward(w http.ResponseWriter, r *http.Request, req *kube.Request, body []byte, d *Done) bool {
	out, err := p.outgoing(r.Context(), r, req, body)
	if err == nil {
		var resp *http.Response
		if resp, err = p.t.plain.RoundTrip(out); err == nil {
			defer resp.Body.Close()
			return p.answer(w, r, req, resp, d)
		}
		err = p.t.unreachable(err)
	}
	d.Status, d.Err = codeOf(err), err
	refuse(w, d.Status, req, public(err))
	return true
}

// answer shows resp, masked.
func (p *proxy) answer(w http.ResponseWriter, r *http.Request, req *kube.Request, resp *http.Response, d *Done) bool {
	for _, name := range returned {
		if v := resp.Header[name]; len(v) > 0 {
			w.Header()[name] = v
		}
	}
	d.Status = resp.StatusCode
	show := &shown{p: p, w: w, live: req.Verb == "watch" || isFollowed(req), sum: sha256.New()}
	copyBody, err := p.masker(req, resp)
	if err != nil {
		d.Status, d.Err = http.StatusBadGateway, err
		refuse(w, d.Status, req, public(err))
		return true
	}
	w.WriteHeader(resp.StatusCode)
	if show.live {
		_ = http.NewResponseController(w).Flush() // a watch has begun before its first event
	}
	if r.Method != http.MethodHead {
		d.Err = copyBody(show, resp.Body)
	}
	d.Bytes = show.n
	if show.n > 0 {
		d.SHA256 = hex.EncodeToString(show.sum.Sum(nil))
	}
	return d.Err == nil
}

func isFollowed(req *kube.Request) bool {
	return req.Subresource == "log" && req.Query.Get("follow") != "" && req.Query.Get("follow") != "false"
}

// masker returns what copies the body of resp, by its type.
func (p *proxy) masker(req *kube.Request, resp *http.Response) (func(io.Writer, io.Reader) error, error) {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	engine, o := p.s.Masks(req)
	switch {
	case req.Discovery() && resp.StatusCode == http.StatusOK:
		return func(w io.Writer, r io.Reader) error { _, err := io.Copy(w, r); return err }, nil
	case err != nil && resp.ContentLength == 0:
		return func(io.Writer, io.Reader) error { return nil }, nil
	case kind == "application/json":
		return req.Masker(engine, o, p.s.Masked).JSON, nil
	case strings.HasPrefix(kind, "text/"):
		return func(w io.Writer, r io.Reader) error { return copyText(w, r, engine, o, p.s.Masked) }, nil
	}
	return nil, &Error{Target: p.t.c.Name, Public: "its answer is of a type that cannot be masked", Err: fmt.Errorf("content type %q", kind)}
}

// preview is how much of an answer's beginning the transcript shows.
const preview = 2 << 10

// shown is where an answer is written: first to the record, then to the client.
type shown struct {
	p    *proxy
	w    http.ResponseWriter
	live bool
	n    int64
	sum  hash.Hash
}

func (s *shown) Write(b []byte) (int, error) {
	s.sum.Write(b)
	if s.live {
		if err := s.p.s.Record(b); err != nil {
			return 0, err
		}
	} else if rest := preview - s.n; rest > 0 {
		if err := s.p.s.Record(b[:min(int64(len(b)), rest)]); err != nil {
			return 0, err
		}
	}
	s.n += int64(len(b))
	n, err := s.w.Write(b)
	if err == nil && s.live {
		err = http.NewResponseController(s.w).Flush()
	}
	return n, err
}
