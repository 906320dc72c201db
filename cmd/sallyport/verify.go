package main

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sallyport-ssh/sallyport/replay"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
)

// verifyCmd checks recordings against their signatures. It exits with 0 when nothing is missing or changed, 1
// when something is, 2 when that cannot be told.
type verifyCmd struct {
	placeFlags
	What    string `arg:"" optional:"" help:"Id of a session, or a file (- is standard input)." placeholder:"ID|FILE"`
	All     bool   `help:"Every recording in the store and in the ledger, and the ledger's chain of seals."`
	Offline string `help:"Trust the authority in this file and ask nobody else." type:"existingfile" placeholder:"ROOT.pem"`
	JSON    bool   `help:"One JSON object a line."`
}

// Help is the end of the command's help.
func (*verifyCmd) Help() string {
	return "Exit status: 0 nothing is missing or changed; 1 something is; 2 that cannot be told. A file is checked under the authority of --offline, or else of --config or --dir."
}

// archive is where recordings and what the ledger says of them are found.
type archive struct {
	lib   *replay.Library
	seals sealBook
	close func() error
}

// sealBook is the part of the ledger that verifying needs.
type sealBook interface {
	SealsOf(ctx context.Context, sessionID string) ([]ledger.Seal, error)
	Seals(ctx context.Context, after int64) ([]ledger.Seal, error)
	VerifySeals(ctx context.Context, kept ...ledger.Head) (ledger.SealReport, error)
}

// openArchive finds the store, the ledger and the authority of a gate.
var openArchive = placeFlags.openArchive // replaced by tests

func (f placeFlags) openArchive(ctx context.Context) (*archive, error) {
	p, err := f.open()
	if err != nil {
		return nil, err
	}
	root, err := readRoot(p.recordRoot())
	if err != nil {
		return nil, fmt.Errorf("ca.dir: the authority of recordings: %w; copy a recording and verify the file with --offline ROOT.pem", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	l, err := p.openLedger(ctx)
	if err != nil {
		return nil, err
	}
	lib, closeStore, err := p.openLibrary(ctx, roots)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &archive{lib: lib, seals: l, close: func() error { return errors.Join(closeStore(), l.Close()) }}, nil
}

const (
	verifyDamaged = 1
	verifyUnknown = 2
)

// verdict is one line of output.
type verdict struct {
	Name   string       `json:"name"`
	Purged *time.Time   `json:"purged,omitempty"` // when it was removed on purpose, by the ledger's chain
	Error  string       `json:"error,omitempty"`  // why nothing could be told
	Code   int          `json:"code"`
	Found  *cast.Report `json:"report,omitempty"`
}

func (c *verifyCmd) Run(ctx context.Context, k *kong.Kong) error {
	if c.All == (c.What != "") {
		return &exitError{verifyUnknown, errors.New("verify: name one session or file, or --all")}
	}
	if c.All && c.Offline != "" {
		return &exitError{verifyUnknown, errors.New("verify: --all needs the store and the ledger, --offline asks nobody: use one of them")}
	}
	worst := 0
	for v := range c.verdicts(ctx) {
		worst = max(worst, v.Code) // what cannot be told may be anything
		if err := c.print(k.Stdout, v); err != nil {
			return &exitError{verifyUnknown, fmt.Errorf("verify: %w", err)}
		}
	}
	if worst > 0 {
		return &exitError{worst, nil}
	}
	return nil
}

// verdicts checks what was asked for, one after the other.
func (c *verifyCmd) verdicts(ctx context.Context) iter.Seq[verdict] {
	return func(yield func(verdict) bool) {
		if c.isFile() {
			yield(c.file())
			return
		}
		a, err := openArchive(c.placeFlags, ctx)
		if err != nil {
			yield(unknown(c.name(), err))
			return
		}
		defer a.close()
		if !c.All {
			yield(a.session(ctx, c.What))
			return
		}
		a.all(ctx, yield)
	}
}

func (c *verifyCmd) name() string {
	if c.All {
		return "recordings"
	}
	return c.What
}

// isFile says whether a file is to be checked: --offline asks no store.
func (c *verifyCmd) isFile() bool { return !c.All && (c.Offline != "" || isRecordingFile(c.What)) }

// file checks a recording in a file.
func (c *verifyCmd) file() verdict {
	var o cast.VerifyOptions
	var err error
	if o.Roots, err = c.roots(); err != nil {
		return unknown(c.What, err)
	}
	in := io.NopCloser(io.Reader(os.Stdin))
	if c.What != "-" {
		if in, err = os.Open(c.What); err != nil {
			return unknown(c.What, err)
		}
	}
	defer in.Close()
	r, err := cast.Verify(in, o)
	if err != nil {
		return unknown(c.What, err)
	}
	v := judge(c.What, r)
	if v.Code == 0 && !r.Trusted {
		v.Code = verifyUnknown
		v.Error = "agrees with its own signatures, but whose they are cannot be told: name the authority with --offline ROOT.pem"
	}
	return v
}

// roots are whom to trust about a file: the authority that was named, or that of the gate, or nobody.
func (c *verifyCmd) roots() (*x509.CertPool, error) {
	from := c.Offline
	if from == "" {
		if file, _ := c.placeFlags.file(); file == "" {
			return nil, nil
		}
		p, err := c.placeFlags.open()
		if err != nil {
			return nil, err
		}
		from = p.recordRoot()
	}
	root, err := readRoot(from)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return roots, nil
}

// readRoot reads the certificate of the authority of recordings.
func readRoot(name string) (*x509.Certificate, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var found []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		found = append(found, cert)
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s holds no certificate in PEM form", name)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%s holds %d certificates; name a file with the root alone", name, len(found))
}

// session checks one session's recording, also against the ledger's seal.
func (a *archive) session(ctx context.Context, id string) verdict {
	seals, err := a.seals.SealsOf(ctx, id)
	if err != nil {
		return unknown(id, err)
	}
	hash := ""
	var purged *time.Time
	if len(seals) > 0 {
		last := seals[len(seals)-1]
		hash = hex.EncodeToString(last.Hash) // of a purged one: of what was removed
		if last.State == ledger.Purged {
			purged = &last.At
		}
	}
	r, err := a.lib.Verify(ctx, id, hash)
	switch {
	case purged != nil && errors.Is(err, replay.ErrNoSession):
		return verdict{Name: id, Purged: purged}
	case purged != nil && err == nil && !r.OK():
		return verdict{Name: id, Purged: purged, Found: &r} // the removal was interrupted
	case errors.Is(err, replay.ErrNoSession) && hash != "":
		return judge(id, cast.Report{State: cast.Tampered, Session: id, Why: "the whole recording is gone; the ledger has its seal"})
	case err != nil:
		return unknown(id, err)
	}
	return judge(id, r)
}

// all checks the ledger's chain, every recording there is, and that there is one for every seal.
func (a *archive) all(ctx context.Context, yield func(verdict) bool) {
	if !yield(a.chain(ctx)) {
		return
	}
	seen := map[string]bool{}
	once := func(id string) bool {
		if seen[id] {
			return true
		}
		seen[id] = true
		return yield(a.session(ctx, id))
	}
	for id, err := range a.lib.Sessions(ctx) {
		if err != nil {
			yield(unknown("recordings", err))
			return
		}
		if !once(id) {
			return
		}
	}
	for after := int64(0); ; {
		page, err := a.seals.Seals(ctx, after)
		if err != nil {
			yield(unknown("seals", err))
			return
		}
		if len(page) == 0 {
			return
		}
		for _, s := range page {
			if after = s.N; !once(s.SessionID) {
				return
			}
		}
	}
}

func (a *archive) chain(ctx context.Context) verdict {
	r, err := a.seals.VerifySeals(ctx)
	if err != nil {
		return unknown("ledger", err)
	}
	if len(r.Problems) == 0 {
		return verdict{Name: "ledger"}
	}
	p := r.Problems[0]
	return verdict{Name: "ledger", Code: verifyDamaged,
		Error: fmt.Sprintf("the chain of seals is broken at seal %d (session %s): %s; %d problems in all", p.N, p.SessionID, p.What, len(r.Problems))}
}

func unknown(name string, err error) verdict {
	return verdict{Name: name, Code: verifyUnknown, Error: err.Error()}
}

func judge(name string, r cast.Report) verdict {
	v := verdict{Name: name, Found: &r}
	if !r.OK() && !r.Live {
		v.Code = verifyDamaged
	}
	return v
}

func (c *verifyCmd) print(w io.Writer, v verdict) error {
	if c.JSON {
		b, err := json.Marshal(v)
		if err == nil {
			_, err = w.Write(append(plainJSON(b), '\n'))
		}
		return err
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", shown(v.Name), shown(v.text()))
	return err
}

// text says in one line what was found.
func (v verdict) text() string {
	r := v.Found
	switch {
	case v.Code == verifyUnknown:
		return "cannot tell: " + v.Error
	case v.Error != "":
		return "DAMAGED: " + v.Error
	case v.Purged != nil && r == nil:
		return "purged " + v.Purged.UTC().Format(time.RFC3339) + ": removed on purpose, as the chain of seals says; sallyport purge is how, and the audit events say by whom"
	case v.Purged != nil && v.Code == 0 && !r.OK():
		return "purged " + v.Purged.UTC().Format(time.RFC3339) + ", and part of it is still in the store; the next purge removes it"
	case r == nil:
		return "ok"
	case r.State == cast.Tampered:
		return fmt.Sprintf("TAMPERED: %s; first byte not vouched for: %d (line %d)", r.Why, r.BadOffset, r.BadLine)
	case r.Live:
		return fmt.Sprintf("live: %s signed up to byte %d of %d", counted(r.Counts), r.SignedUntil, r.Size)
	case r.State == cast.Truncated:
		return fmt.Sprintf("TRUNCATED: %s", r.Why)
	}
	text := fmt.Sprintf("%s: %s, sealed %s", r.State, counted(r.Counts), r.Seal.Time.Format(time.RFC3339))
	if r.Seal.Reason != "" {
		text += fmt.Sprintf(" (%q)", r.Seal.Reason)
	}
	if r.Why != "" {
		text += "; " + r.Why
	}
	return text
}

func counted(c cast.Counts) string {
	return fmt.Sprintf("%d events, %d bytes, %d operations, %d masked", c.Events, c.Bytes, c.Ops, c.Masked)
}
