package sshd

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sallyport-ssh/sallyport/certs"
	kubefacts "github.com/sallyport-ssh/sallyport/filters/kube"
	"github.com/sallyport-ssh/sallyport/filters/mask"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/shells"
	"github.com/sallyport-ssh/sallyport/shells/kube"
)

// forwardKube serves a tunnel to a Kubernetes API server. It is one session; each request in it is decided on.
func (c *connection) forwardKube(nc ssh.NewChannel, t *Target) {
	s := &session{c: c, id: NewSessionID(), route: route{target: t}, started: time.Now()}
	s.asked = asked{kind: "kube", command: t.Address}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	defer s.cancel(nil)
	c.srv.remembered(s, func() { s.relayKube(nc) })
}

func (s *session) relayKube(nc ssh.NewChannel) {
	var err error
	defer func() { s.seal(shells.Exit{}, err) }()
	facts := s.openFacts()
	facts["kind"] = "forward"
	err = s.c.srv.o.Gate.Admit(s.ctx, Operation{
		SessionID: s.id, ConnectionID: s.c.id, Principal: s.c.principal, Target: s.route.target.Target,
		Action: "session:open", Facts: facts, Unheld: true,
	}, s)
	if err != nil {
		_ = nc.Reject(ssh.Prohibited, "sallyport: "+publicText(err))
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	go ssh.DiscardRequests(requests) // ends with the channel
	conn, wait := piped(ch)
	defer wait()
	err = s.route.target.Kube.Serve(s.ctx, conn, s.kubeIdentity(), &kubeSession{session: s})
}

// piped is ch as a connection with deadlines, which HTTP lives by. wait returns when nothing of it is left; the
// connection must be closed.
func piped(ch ssh.Channel) (conn net.Conn, wait func()) {
	near, far := net.Pipe()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.CopyBuffer(far, onlyReader{ch}, make([]byte, chunk))
		far.Close()
	})
	both.Go(func() {
		_, _ = io.CopyBuffer(onlyWriter{ch}, onlyReader{far}, make([]byte, chunk))
		far.Close()
		ch.Close()
	})
	return near, both.Wait
}

// onlyWriter hides ReadFrom, so that CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// kubeIdentity is the one who acts, as the cluster shall know them.
func (s *session) kubeIdentity() kube.Identity {
	id := s.c.identity
	out := kube.Identity{User: userOf(id), Groups: id.Groups, Session: s.id, Extra: map[string]string{"Session": s.id}}
	if id.OnBehalfOf != nil {
		out.Extra["On-Behalf-Of"] = userOf(*id.OnBehalfOf)
	}
	return out
}

// userOf is the e-mail address that the issuer verified, or else the identity's key.
func userOf(id certs.Identity) string {
	if id.Email != "" {
		return id.Email
	}
	return id.Key()
}

// A kubeSession is what the proxy asks of its session.
type kubeSession struct {
	*session
	quiet bool // kubectl runs on the gate: what it shows is the record
}

// Admit decides on one request. An approver is shown all of it.
func (k *kubeSession) Admit(ctx context.Context, r *kubefacts.Request, shown func(context.Context) string) error {
	op := k.operation(r.Action(), r.Text(), r.Context())
	if k.c.srv.o.Gate.preview(op) == policies.EffectHold {
		op.Text, op.Brief = shown(ctx), op.Text
		if !k.quiet {
			return kubeRefusal(k.park(ctx, op))
		}
	}
	err := k.admitOperation(ctx, op)
	var refusal *Refusal
	if errors.As(err, &refusal) && k.quiet {
		k.refusedWith.Store(int32(refusal.Code))
		if k.asked.json { // people are told by kubectl
			k.sayRefused(refusal)
		}
	}
	return kubeRefusal(err)
}

// kubeRefusal makes err one that says to programs what it is.
func kubeRefusal(err error) error {
	var r *Refusal
	if errors.As(err, &r) {
		return &apiRefusal{r}
	}
	return err
}

// An apiRefusal is a refusal in a Status of the API.
type apiRefusal struct{ *Refusal }

// Unwrap returns the refusal.
func (r *apiRefusal) Unwrap() error { return r.Refusal }

// Causes are the request's id and the policy's, where there are.
func (r *apiRefusal) Causes() []kube.Cause {
	var out []kube.Cause
	if r.HoldID != "" {
		out = append(out, kube.Cause{Reason: "SallyportRequest", Message: r.HoldID})
	}
	if r.Policy.ID != "" {
		out = append(out, kube.Cause{Reason: "SallyportPolicy", Message: r.Policy.ID})
	}
	return out
}

// PublicText also names the policy.
func (r *apiRefusal) PublicText() string {
	if r.Policy.ID == "" || strings.Contains(r.Public, r.Policy.ID) {
		return r.Public
	}
	return r.Public + " (policy " + r.Policy.ID + ")"
}

// Record writes a piece of an answer into the transcript.
func (k *kubeSession) Record(text []byte) error {
	if k.quiet {
		return nil
	}
	return k.recordOutput(replay.Stdout, bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
}

// Done writes down how a request ended.
func (k *kubeSession) Done(r *kubefacts.Request, d kube.Done) error {
	note := map[string]any{
		"method": r.Method, "path": r.Path, "status": d.Status, "bytes": d.Bytes, "sent": d.Sent,
		"milliseconds": d.Took.Milliseconds(), "sha256": d.SHA256,
	}
	line := fmt.Sprintf("\r\n# %s %s: %d, %d bytes, %d ms", r.Method, show(k.maskText(r.Path)), d.Status, d.Bytes, d.Took.Milliseconds())
	if d.Err != nil {
		why := publicText(d.Err)
		note["error"] = why
		line += ", " + show(why)
		k.c.log.Warn("request not answered whole", "session", k.id, "error", show(d.Err.Error()))
	}
	if k.recording == nil {
		return nil
	}
	if err := k.recorded(k.recording.Note("request", note)); err != nil {
		return err
	}
	if k.quiet {
		return nil
	}
	return k.recordOutput(cast.Gate, []byte(line+"\r\n"))
}

// Masks is what answers are masked with.
func (k *kubeSession) Masks(*kubefacts.Request) (*mask.Engine, mask.StreamOptions) {
	return k.c.srv.o.Masks, mask.StreamOptions{Style: k.maskStyle()}
}

// Masked counts a value.
func (k *kubeSession) Masked(string) { k.countMasked(mask.Hit{}) }

// kubeconfig prints what kubectl needs, at PORT of the client's own machine.
func (g *gateCall) kubeconfig() error {
	if len(g.args) < 1 || len(g.args) > 2 {
		return errUsage
	}
	t := g.c.srv.o.Targets.Lookup(g.args[0])
	if t == nil || t.Kube == nil {
		return publicf("there is no Kubernetes target %s; try: targets", show(g.args[0]))
	}
	port := "16443"
	if len(g.args) == 2 {
		n, err := strconv.ParseUint(g.args[1], 10, 16)
		if err != nil || n == 0 {
			return errUsage
		}
		port = strconv.FormatUint(n, 10)
	}
	fmt.Fprintf(g.out, `# Beside it: ssh -N -L %[2]s:%[1]s:443 gate
apiVersion: v1
kind: Config
clusters:
  - name: %[1]s
    cluster:
      server: https://127.0.0.1:%[2]s
      tls-server-name: %[1]s
      certificate-authority-data: %[3]s
users:
  - name: %[1]s
    user: {token: none-needed} # who asks is who made the tunnel; kubectl wants one to begin
contexts:
  - name: %[1]s
    context: {cluster: %[1]s, user: %[1]s}
current-context: %[1]s
`, t.Name, port, base64.StdEncoding.EncodeToString(g.c.srv.o.TunnelRoot))
	return nil
}
