package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/diff"

	"github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/filters/mask"
)

// shown is a request as an approver sees it: what is sent, byte for byte, and for a write what it would change.
func (p *proxy) shown(ctx context.Context, r *http.Request, req *kube.Request, body []byte) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + target(r.URL) + "\n")
	if req.Subresource == "exec" {
		b.WriteString("\ncommand: " + req.CommandLine() + "\n")
	}
	if len(body) > 0 {
		b.WriteString("\n" + strings.TrimRight(kube.Readable(r.Header.Get("Content-Type"), body), "\n") + "\n")
	}
	if d := p.change(ctx, r, req, body); d != "" {
		b.WriteString("\n" + d)
	}
	return b.String()
}

// change is the difference between what is there and what a dry run says would be there, "" where the server does not
// tell.
func (p *proxy) change(ctx context.Context, r *http.Request, req *kube.Request, body []byte) string {
	if req.Verb != "update" && req.Verb != "patch" || req.Subresource != "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	read := r.Clone(ctx)
	read.Method, read.URL.RawQuery = http.MethodGet, ""
	before, _ := p.ask(ctx, read, req, nil) // an object that is not there yet is empty
	dry := r.Clone(ctx)
	q := dry.URL.Query()
	q.Set("dryRun", "All")
	dry.URL.RawQuery = q.Encode()
	after, ok := p.ask(ctx, dry, req, body)
	if !ok {
		return ""
	}
	return string(diff.Diff("now", before, "then", after))
}

// ask asks the server on the session's behalf and returns the object, masked, as text of one field a line.
func (p *proxy) ask(ctx context.Context, r *http.Request, req *kube.Request, body []byte) ([]byte, bool) {
	out, err := p.outgoing(ctx, r, req, body)
	if err != nil {
		return nil, false
	}
	out.Header.Set("Accept", "application/json")
	resp, err := p.t.plain.RoundTrip(out)
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, kube.MaxBody+1))
	if err != nil || len(raw) > kube.MaxBody || resp.StatusCode >= 300 {
		return nil, false
	}
	engine, _ := p.s.Masks(req)
	var hidden bytes.Buffer
	if err := req.Masker(engine, mask.StreamOptions{}, nil).JSON(&hidden, bytes.NewReader(raw)); err != nil {
		return nil, false
	}
	return lines(hidden.Bytes())
}

// lines is an object without what changes at every write.
func lines(object []byte) ([]byte, bool) {
	var o map[string]any
	d := json.NewDecoder(bytes.NewReader(object))
	d.UseNumber()
	if d.Decode(&o) != nil {
		return nil, false
	}
	delete(o, "status")
	if m, ok := o["metadata"].(map[string]any); ok {
		for _, noise := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
			delete(m, noise)
		}
		if a, ok := m["annotations"].(map[string]any); ok {
			delete(a, "kubectl.kubernetes.io/last-applied-configuration")
		}
	}
	text, err := yaml.MarshalWithOptions(o, yaml.UseJSONMarshaler())
	return text, err == nil
}
