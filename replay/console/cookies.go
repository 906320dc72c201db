package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"sync"
	"time"
)

// randomID is 256 bits from the system's generator, fit for cookies and URLs.
func randomID() string {
	var b [32]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// A signedIn is one browser that somebody signed in from. Its fields but used and looks never change.
type signedIn struct {
	viewer Viewer
	token  string // expected in every form of this browser
	since  time.Time
	used   time.Time // guarded by sessions.mu
	looks  looks
}

// sessions keeps who is signed in, in memory only: a restart signs everybody out. A browser's cookie is
// kept as its SHA-256, so that neither timing nor a look at the memory gives one away.
type sessions struct {
	idle, lifetime time.Duration
	max            int
	now            func() time.Time

	mu   sync.Mutex
	byID map[[32]byte]*signedIn
}

func newSessions(idle, lifetime time.Duration, max int, now func() time.Time) *sessions {
	return &sessions{idle: idle, lifetime: lifetime, max: max, now: now, byID: map[[32]byte]*signedIn{}}
}

// add signs a viewer in under a new id. Where there are too many the one unused for longest goes.
func (s *sessions) add(v Viewer) string {
	id, now := randomID(), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) >= s.max {
		s.makeRoom(now)
	}
	s.byID[sha256.Sum256([]byte(id))] = &signedIn{viewer: v, token: randomID(), since: now, used: now}
	return id
}

// makeRoom drops what has expired, or else the least recently used. s.mu is held.
func (s *sessions) makeRoom(now time.Time) {
	var oldest [32]byte
	var at time.Time
	for k, e := range s.byID {
		if s.expired(e, now) {
			delete(s.byID, k)
		} else if at.IsZero() || e.used.Before(at) {
			oldest, at = k, e.used
		}
	}
	if len(s.byID) >= s.max {
		delete(s.byID, oldest)
	}
}

func (s *sessions) expired(e *signedIn, now time.Time) bool {
	return now.Sub(e.used) >= s.idle || now.Sub(e.since) >= s.lifetime
}

// get returns who is behind a cookie, nil when nobody is. Touch says that a person acted, and not
// merely a page that updates itself.
func (s *sessions) get(id string, touch bool) *signedIn {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := sha256.Sum256([]byte(id))
	e := s.byID[k]
	if e == nil {
		return nil
	}
	if s.expired(e, now) {
		delete(s.byID, k)
		return nil
	}
	if touch {
		e.used = now
	}
	return e
}

// drop signs out. An id nobody has is no error.
func (s *sessions) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(id)))
}

// goodToken compares a form's token in constant time.
func (e *signedIn) goodToken(got string) bool {
	return subtle.ConstantTimeCompare([]byte(e.token), []byte(got)) == 1
}

// Names of the cookies. Browsers take a __Host- cookie only from a secure origin, for all of it and for
// no other host.
const (
	cookieSession = "sallyport"
	cookieSignin  = "sallyport-signin"
)

func (c *Console) cookieName(name string) string {
	if c.secure {
		return "__Host-" + name
	}
	return name
}

// setCookie writes a cookie for this browser. Lax and not Strict: the provider sends people back by a
// cross-site redirect, and a link in a message must find them signed in; forms have their own token.
func (c *Console) setCookie(w http.ResponseWriter, name, value string, maxAge time.Duration) {
	age := int(maxAge / time.Second)
	if value == "" {
		age = -1
	}
	http.SetCookie(w, &http.Cookie{
		Name: c.cookieName(name), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns a cookie's value, "" when there is none or more than one: a second one was planted.
func (c *Console) cookie(r *http.Request, name string) string {
	all := r.CookiesNamed(c.cookieName(name))
	if len(all) != 1 || len(all[0].Value) > maxCookie {
		return ""
	}
	return all[0].Value
}

const maxCookie = 4096 // bytes
