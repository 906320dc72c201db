package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// A refusal is an answer that no further try changes.
type refusal struct{ what string }

func (r *refusal) Error() string { return r.what }

// ErrAddress says that a receiver's name led to an address that is not public and not allowed by the configuration.
var ErrAddress = errors.New("the address is not a public one, and not among those allowed")

// post sends body. Its errors never hold the URL.
func (s *Sender) post(ctx context.Context, id string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.o.URL, bytes.NewReader(body))
	if err != nil {
		return &refusal{"its URL cannot be requested"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	req.Header.Set(DeliveryHeader, id)
	if len(s.o.Secret) > 0 {
		req.Header.Set(SignatureHeader, Sign(s.o.Secret, s.o.now(), body))
	}
	res, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fmt.Errorf("post: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
	return judge(res.StatusCode)
}

// judge says what a status means: 2xx is taken, what a later try may change is an error, the rest a refusal.
func judge(status int) error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status >= 300 && status < 400:
		return &refusal{fmt.Sprintf("the receiver answers %d and wants to be asked elsewhere, which is not followed", status)}
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return fmt.Errorf("the receiver answers %d", status)
	}
	return &refusal{fmt.Sprintf("the receiver answers %d", status)}
}

// client makes requests to public addresses and to those in allow, whatever a name resolves to and whoever asks for a
// redirect: the address is looked at when it is dialled, so there is nothing between looking and using. It uses no proxy
// of the environment, which would dial for us.
func client(allow []netip.Prefix, timeout time.Duration) *http.Client {
	d := &net.Dialer{Timeout: timeout, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return ErrAddress
		}
		return mayDial(ap.Addr(), allow)
	}}
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.DialContext, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			MaxResponseHeaderBytes: 64 << 10, MaxIdleConns: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
		},
	}
}

// notPublic are the networks that IsGlobalUnicast takes for public and that are not (RFC 6890, RFC 6598, RFC 6052), and
// those that lead to others.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"), netip.MustParsePrefix("5f00::/16"), netip.MustParsePrefix("fec0::/10"),
}

// mayDial refuses every address that is not public, unless it is allowed by name of its network.
func mayDial(a netip.Addr, allow []netip.Prefix) error {
	a = a.Unmap().WithZone("")
	for _, p := range allow {
		if p.Contains(a) {
			return nil
		}
	}
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return ErrAddress
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return ErrAddress
		}
	}
	return nil
}
