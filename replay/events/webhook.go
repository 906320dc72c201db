package events

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sallyport-ssh/sallyport/policies/notify"
)

// Webhook posts events as lines of JSON, signed like the gate's other webhooks; see [notify.Verify]. A status of
// 2xx takes the batch. Redirects are not followed.
type Webhook struct {
	url    string
	secret []byte
	client *http.Client
}

// NewWebhook returns a sink that posts to a URL. The secret is shared with the receiver, at least 16 bytes.
func NewWebhook(address string, secret []byte, t *tls.Config) (*Webhook, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("webhook: the URL is none")
	}
	if len(secret) < 16 {
		return nil, errors.New("webhook: the secret has fewer than 16 bytes")
	}
	return &Webhook{url: address, secret: secret, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: t, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConns: 1},
	}}, nil
}

// Send posts lines in one request. Its errors never hold the URL, which may hold a token.
func (s *Webhook) Send(ctx context.Context, lines [][]byte) error {
	body := joined(lines)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return errors.New("webhook: its URL cannot be requested")
	}
	id := sha256.Sum256(body)
	req.Header.Set("Content-Type", "application/x-ndjson")
	req.Header.Set("User-Agent", "sallyport")
	req.Header.Set(notify.DeliveryHeader, hex.EncodeToString(id[:16]))
	req.Header.Set(notify.SignatureHeader, notify.Sign(s.secret, time.Now(), body))
	res, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 4<<10) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("webhook: the receiver answers %d", res.StatusCode)
	}
	return nil
}

// Close ends idle connections.
func (s *Webhook) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
