package kube

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// kubectl asks again by SPDY when a WebSocket is refused, whatever the reason (k8s.io/client-go, FallbackExecutor). That is
// no new request: nobody is asked twice.
const (
	retryWindow = 10 * time.Second
	maxRefusals = 1024
)

// refusals are those of a moment ago, so that a retry hears the same. Its zero value is ready.
type refusals struct {
	mu sync.Mutex
	m  map[string]refused
}

type refused struct {
	err  error
	till time.Time
}

func retryKey(id Identity, r *http.Request) string { return id.User + "\n" + target(r.URL) }

func isSPDY(r *http.Request) bool {
	return strings.HasPrefix(strings.ToUpper(r.Header.Get("Upgrade")), "SPDY/")
}

// before is why the same request was refused a moment ago by WebSocket, or nil. It is told once.
func (s *refusals) before(id Identity, r *http.Request) error {
	if !isSPDY(r) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := retryKey(id, r)
	was, ok := s.m[key]
	delete(s.m, key)
	if !ok || time.Now().After(was.till) {
		return nil
	}
	return was.err
}

// remember keeps why r was refused.
func (s *refusals) remember(id Identity, r *http.Request, err error) {
	if !wantsUpgrade(r) || isSPDY(r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.m == nil {
		s.m = map[string]refused{}
	}
	for key, was := range s.m {
		if now.After(was.till) {
			delete(s.m, key)
		}
	}
	if len(s.m) < maxRefusals {
		s.m[retryKey(id, r)] = refused{err, now.Add(retryWindow)}
	}
}
