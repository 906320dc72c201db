package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport-ssh/sallyport/certs"
	"github.com/sallyport-ssh/sallyport/policies"
	"github.com/sallyport-ssh/sallyport/replay/cast"
	"github.com/sallyport-ssh/sallyport/replay/ledger"
	"github.com/sallyport-ssh/sallyport/replay/reel"
)

// Options say what the console stands on. Fields without a default must be set.
type Options struct {
	// BaseURL is scheme and host under which browsers reach the console. With https its cookies are
	// __Host- ones. Requests for another host are redirected here.
	BaseURL string
	// GateName is shown on every page.
	GateName string

	SignIn     SignIn
	Gate       Gate
	Audit      Audit
	Ledger     Ledger
	Recordings Recordings
	Reels      Reels
	Approvals  Approvals
	// Ender ends running sessions. Nil: the pages do not offer it.
	Ender Ender
	// Rules are the targets and policies in force. Nil: there is no page of them.
	Rules Rules
	// Alarms returns what an operator must know, the latest first. Nil: the overview has none but the ledger's.
	Alarms func() []Alarm

	// Idle and Lifetime end a sign-in: after so long without a click, and in any case. Default 30
	// minutes and 10 hours. Rights are asked for anew at every request, but groups are those of the
	// sign-in: Lifetime bounds how old they grow.
	Idle, Lifetime time.Duration
	// MaxSignedIn bounds how many browsers are signed in; the least recently used goes. Default 10,000.
	MaxSignedIn int
	Log         *slog.Logger     // default slog.Default
	Now         func() time.Time // default time.Now
}

// SignIn is the console's client at one OpenID Connect provider. Its redirect URL there is BaseURL +
// "/signin/callback". PKCE is used always.
type SignIn struct {
	Issuer       string
	ClientID     string
	ClientSecret string   // "" for a public client
	Scopes       []string // default openid, profile, email, groups
	Verifier     Verifier
	Client       *http.Client // to reach the provider; default one with a timeout
}

// Verifier proves ID tokens; [certs.Verifier] does, so that a person is the same here as in a
// certificate. The issuer's audiences must hold the console's client id.
type Verifier interface {
	Verify(ctx context.Context, raw string) (certs.Identity, *certs.Token, error)
}

// Viewer is who is signed in.
type Viewer struct {
	Principal policies.Principal
	Addr      string // client address, host only
}

// Gate decides what a viewer may do. It is asked at every page, fragment, stream and form.
type Gate interface {
	// Admit returns nil to let v do action on o. A [*Refusal] is a decision; any other error means that
	// none was reached, and also refuses. It is asked for each row of a list and at every beat of a
	// stream, so it should be cheap and write nothing: the console audits what counts.
	Admit(ctx context.Context, v Viewer, action string, on Object) error
}

// The actions that the console asks about.
const (
	RecordingList = "recording:list" // the pages that list sessions; each row is asked for, too
	RecordingView = "recording:view" // one session's page, its operations and recording
	ApprovalList  = "approval:list"  // what waits
	ApprovalGive  = "approval:give"  // an answer
	SessionKill   = "session:kill"   // ending a session
)

// Object is what an action is about. Its zero value is the gate itself.
type Object struct {
	Target   policies.Target
	Session  string // id
	Owner    string // key of the identity whose session or request it is
	OwnerFor string // key of whom that identity acts for
	Held     string // the action that waits for an answer
	Policy   string // id of the policy that held it
}

// Refusal is a decision that says no. It is shown to the viewer whole.
type Refusal struct {
	Action   string
	Object   Object
	Policies []policies.Ref // none: nothing permits it
	Why      string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s refused: %s", r.Action, r.Why) }

// Audit takes what happened at the console; [ledger.Ledger] is one. An error stops what was about to
// happen: nobody looks at a recording unnoticed. The kinds are console.signin, recording.viewed,
// recording.played, recording.read, recording.followed, recording.downloaded, recording.verified,
// console.searched, console.exported, console.audit-viewed, hold.answered,
// hold.answer-refused, hold.withdrawn, advance.given, advance.revoked, session.end-asked and console.refused.
type Audit interface {
	AddAudit(ctx context.Context, e ledger.Event) error
}

// Ledger is the part of [ledger.Ledger] that the pages read.
type Ledger interface {
	Sessions(ctx context.Context, f ledger.SessionFilter) ([]ledger.Session, string, error)
	Session(ctx context.Context, id string) (ledger.Session, error)
	Operations(ctx context.Context, sessionID string, after int64, limit int) ([]ledger.Operation, int64, error)
	SearchOperations(ctx context.Context, f ledger.OperationFilter) ([]ledger.Operation, string, error)
	Find(ctx context.Context, f ledger.Find) (ledger.Found, error)
	Shown(ctx context.Context, sessionID string) (ledger.ShownState, error)
	SaveSearch(ctx context.Context, identity string, s ledger.SavedSearch) error
	DropSearch(ctx context.Context, identity, name string) error
	SavedSearches(ctx context.Context, identity string) ([]ledger.SavedSearch, error)
	Audit(ctx context.Context, f ledger.AuditFilter) ([]ledger.Event, string, error)
	Holds(ctx context.Context, f policies.HoldFilter) ([]policies.Hold, error)
}

// Recordings is the part of replay.Archive that the pages need.
type Recordings interface {
	// Open returns the cast of a session as far as it is written.
	Open(ctx context.Context, id string) (io.ReadCloser, error)
	// FollowAt reads a live session from a byte on: reads wait for more, until the seal was read or ctx ends.
	FollowAt(ctx context.Context, id string, from int64) (io.ReadCloser, error)
	Verify(ctx context.Context, id string) (cast.Report, error)
}

// Reels is the part of [reel.Shelf] that the player needs.
type Reels interface {
	View(ctx context.Context, id string, more bool, wait time.Duration) (reel.View, error)
	Segment(ctx context.Context, id string, v reel.View, n int) (*reel.Reading, error)
	Live(ctx context.Context, id string, v reel.View, follow reel.OpenFunc) (*reel.Reading, error)
}

// Rules say what the gate decides by. They are asked at every look, so that a page shows what is in force.
type Rules interface {
	Targets() []Target
	Policies() []policies.Listed
}

// Target is a target as an auditor sees it: nothing of its credentials.
type Target struct {
	policies.Target
	Description string
	Address     string // host:port, "" where the kind has none
	Login       string // the default user
}

// Alarm is something that went wrong at this gate.
type Alarm struct {
	At      time.Time
	What    string // of what: "record", "ship"
	Session string // "" when it is about no session
	Text    string
}

// Approvals is the part of [policies.Desk] that answers.
type Approvals interface {
	Get(ctx context.Context, id string) (policies.Hold, error)
	// Answer gives a to a pending hold. MayApprove is asked with the hold as stored, before anything is.
	Answer(ctx context.Context, id string, a policies.Answer, mayApprove func(policies.Hold) error) (policies.Hold, error)
	// Eligible says why p could not answer h now, by the hold's terms; nil if they could.
	Eligible(p policies.Principal, h policies.Hold) error
	// Withdraw takes a pending hold back; only who asked may, and whom they act for.
	Withdraw(ctx context.Context, id string, by policies.Principal) error
	// Advances, Approve and Revoke list, give and take back approvals in advance; see [policies.Desk].
	Advances(ctx context.Context) ([]policies.Advance, error)
	Approve(ctx context.Context, a policies.Advance, mayApprove func(policies.Advance) error) (policies.Advance, error)
	Revoke(ctx context.Context, id string, by policies.Principal, mayApprove func(policies.Advance) error) (policies.Advance, error)
	// Watch yields holds as they are made, answered and ended, until ctx ends; then it is closed.
	Watch(ctx context.Context) (<-chan policies.Hold, error)
}

// Ender ends running sessions, wherever they run.
type Ender interface {
	End(ctx context.Context, by Viewer, sessionID, reason string) error
}

func (o *Options) check() error {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"BaseURL", o.BaseURL == ""}, {"Gate", o.Gate == nil}, {"Audit", o.Audit == nil}, {"Ledger", o.Ledger == nil},
		{"Recordings", o.Recordings == nil}, {"Reels", o.Reels == nil}, {"Approvals", o.Approvals == nil}, {"SignIn.Issuer", o.SignIn.Issuer == ""},
		{"SignIn.ClientID", o.SignIn.ClientID == ""}, {"SignIn.Verifier", o.SignIn.Verifier == nil},
	} {
		if f.missing {
			return errors.New(f.name + " is not set")
		}
	}
	return nil
}

func (o *Options) defaults() {
	set(&o.Idle, 30*time.Minute)
	set(&o.Lifetime, 10*time.Hour)
	set(&o.MaxSignedIn, 10_000)
	set(&o.GateName, "gate")
	if len(o.SignIn.Scopes) == 0 {
		o.SignIn.Scopes = []string{"openid", "profile", "email", "groups"}
	}
	if o.SignIn.Client == nil {
		o.SignIn.Client = &http.Client{Timeout: exchangeTime}
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}
