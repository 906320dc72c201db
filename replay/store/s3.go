package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// S3Options say where a bucket is and how to get at it.
type S3Options struct {
	Endpoint string // host or host:port, without a scheme
	Bucket   string // must exist
	Prefix   string // before every key, "" or ending in a slash
	Region   string // "" asks the server

	PathStyle bool   // the bucket in the path, as MinIO likes it; else in the host name
	Plaintext bool   // HTTP without TLS: for a server on the same machine
	CAFile    string // PEM; whom to trust instead of the system's authorities

	// Credentials: the first of these that is set. Without any: AWS_* and MINIO_* of the environment, then
	// the workload's identity as the environment describes it (AWS_WEB_IDENTITY_TOKEN_FILE, an IAM role).
	// Files are read again when the server refuses what they held, so that keys can be rotated under a
	// running gate.
	AccessKey, SecretKey         string
	AccessKeyFile, SecretKeyFile string // each holds one line
	CredentialsFile, Profile     string // the AWS form; profile "default"
	WebIdentity                  *WebIdentity
	IAM                          *IAM

	SSE      string // "" the bucket's default, "s3", or "kms"
	KMSKeyID string // with "kms"

	Timeout time.Duration // of one request, default 30 s
}

// WebIdentity is a workload's OpenID Connect token, exchanged for keys by AssumeRoleWithWebIdentity.
type WebIdentity struct {
	TokenFile   string // holds the token; read at each exchange, because it is short-lived
	RoleARN     string // "" with a MinIO that goes by the token's claims
	STSEndpoint string // URL of the exchange; "" is the store's own, as MinIO has it
}

// IAM is the role of the machine that the gate runs on, told by its cloud's metadata service.
type IAM struct {
	Endpoint string // URL; "" finds it by the environment, else EC2's
}

// S3 keeps objects in a bucket by plain PUT, never multipart.
type S3 struct {
	client  *minio.Client
	creds   *credentials.Credentials
	bucket  string
	prefix  string
	sse     encrypt.ServerSide
	timeout time.Duration
	name    string
}

// OpenS3 checks the configuration. It does not talk to the server: a store that is down must not keep a
// gate from starting.
func OpenS3(_ context.Context, c S3Options) (*S3, error) {
	s, err := openS3(c)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func openS3(c S3Options) (*S3, error) {
	if c.Endpoint == "" || c.Bucket == "" {
		return nil, errors.New("endpoint and bucket are required")
	}
	if strings.Contains(c.Endpoint, "://") {
		return nil, errors.New("endpoint is a host or host:port, without a scheme")
	}
	if c.Prefix != "" && (!strings.HasSuffix(c.Prefix, "/") || checkPrefix(c.Prefix) != nil) {
		return nil, fmt.Errorf("prefix %q must end in a slash and be a valid key", c.Prefix)
	}
	if (c.AccessKey == "") != (c.SecretKey == "") || (c.AccessKeyFile == "") != (c.SecretKeyFile == "") {
		return nil, errors.New("access key and secret key belong together")
	}
	s := &S3{bucket: c.Bucket, prefix: c.Prefix, timeout: c.Timeout}
	if s.timeout <= 0 {
		s.timeout = 30 * time.Second
	}
	transport, err := c.transport(s.timeout)
	if err != nil {
		return nil, err
	}
	if s.creds, err = c.credentials(transport); err != nil {
		return nil, err
	}
	if s.sse, err = c.encryption(); err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupDNS
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	s.client, err = minio.New(c.Endpoint, &minio.Options{
		Creds: s.creds, Secure: !c.Plaintext, Transport: transport, Region: c.Region, BucketLookup: lookup,
		MaxRetries: 1, // retrying is the caller's: it knows how long
	})
	s.name = "s3 bucket " + c.Bucket + " at " + c.Endpoint
	return s, err
}

func (c S3Options) credentials(transport http.RoundTripper) (*credentials.Credentials, error) {
	switch {
	case c.AccessKey != "":
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), nil
	case c.AccessKeyFile != "":
		return credentials.New(&keyFiles{access: c.AccessKeyFile, secret: c.SecretKeyFile}), nil
	case c.CredentialsFile != "":
		return credentials.NewFileAWSCredentials(c.CredentialsFile, c.Profile), nil
	case c.WebIdentity != nil:
		return c.webIdentity(transport)
	case c.IAM != nil:
		return credentials.New(&credentials.IAM{Endpoint: c.IAM.Endpoint}), nil
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.IAM{},
	}), nil
}

// webIdentity exchanges the workload's token for keys, and again before they end.
func (c S3Options) webIdentity(transport http.RoundTripper) (*credentials.Credentials, error) {
	w := *c.WebIdentity
	if w.TokenFile == "" {
		return nil, errors.New("web_identity: the file with the token is not named")
	}
	if w.STSEndpoint == "" {
		w.STSEndpoint = map[bool]string{true: "http://", false: "https://"}[c.Plaintext] + c.Endpoint
	}
	return credentials.New(&credentials.STSWebIdentity{
		Client: &http.Client{Transport: transport}, STSEndpoint: w.STSEndpoint, RoleARN: w.RoleARN,
		GetWebIDTokenExpiry: func() (*credentials.WebIdentityToken, error) {
			token, err := os.ReadFile(w.TokenFile)
			if err != nil {
				return nil, fmt.Errorf("web_identity: %w", err)
			}
			return &credentials.WebIdentityToken{Token: strings.TrimSpace(string(token))}, nil
		},
	}), nil
}

// keyFiles reads credentials from two files.
type keyFiles struct {
	credentials.Expiry
	access, secret string
}

// Retrieve reads the files. What it gives holds until the server refuses it.
func (k *keyFiles) Retrieve() (credentials.Value, error) {
	access, err := os.ReadFile(k.access)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("access key: %w", err)
	}
	secret, err := os.ReadFile(k.secret)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("secret key: %w", err)
	}
	k.SetExpiration(time.Now().AddDate(100, 0, 0), 0)
	return credentials.Value{
		AccessKeyID: strings.TrimSpace(string(access)), SecretAccessKey: strings.TrimSpace(string(secret)),
		SignerType: credentials.SignatureV4,
	}, nil
}

// RetrieveWithCredContext is Retrieve.
func (k *keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

func (c S3Options) transport(timeout time.Duration) (*http.Transport, error) {
	t, err := minio.DefaultTransport(!c.Plaintext)
	if err != nil {
		return nil, err
	}
	t.ResponseHeaderTimeout = min(t.ResponseHeaderTimeout, timeout)
	if c.Plaintext {
		return t, nil
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate", c.CAFile)
		}
	}
	return t, nil
}

func (c S3Options) encryption() (encrypt.ServerSide, error) {
	switch c.SSE {
	case "":
		return nil, nil
	case "s3":
		return encrypt.NewSSE(), nil
	case "kms":
		return encrypt.NewSSEKMS(c.KMSKeyID, nil)
	}
	return nil, fmt.Errorf("sse is %q, want s3 or kms", c.SSE)
}

// Put sends the object in one request with its MD5, so that the server refuses what was damaged on the way.
func (s *S3) Put(ctx context.Context, key string, data []byte, o PutOptions) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	opts := minio.PutObjectOptions{
		ContentType: o.ContentType, DisableMultipart: true, SendContentMd5: true, ServerSideEncryption: s.sse,
	}
	if !o.RetainUntil.IsZero() {
		opts.Mode, opts.RetainUntilDate = minio.Compliance, o.RetainUntil
		if o.Governance {
			opts.Mode = minio.Governance
		}
	}
	if o.LegalHold {
		opts.LegalHold = minio.LegalHoldEnabled
	}
	err := s.try(ctx, func(ctx context.Context) error {
		info, err := s.client.PutObject(ctx, s.bucket, s.prefix+key, bytes.NewReader(data), int64(len(data)), opts)
		if err == nil && info.Size != int64(len(data)) {
			err = fmt.Errorf("the server kept %d of %d bytes", info.Size, len(data))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// try makes one request with a deadline, and once more with fresh credentials when they were refused.
func (s *S3) try(ctx context.Context, request func(context.Context) error) error {
	once := func() error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return request(ctx)
	}
	err := once()
	if s.refused(err) {
		err = once()
	}
	return s3Error(err)
}

// refused tells whether the server refused the credentials, and has them read again before the next request.
func (s *S3) refused(err error) bool {
	switch minio.ToErrorResponse(err).Code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AccessDenied", "InvalidToken":
		s.creds.Expire()
		return true
	}
	return false
}

// s3Error turns the server's words for "there is nothing" into the package's. A missing bucket is not that.
func s3Error(err error) error {
	if err != nil && minio.ToErrorResponse(err).Code == "NoSuchKey" {
		return ErrNotExist
	}
	return err
}

// Get opens the object; its bytes are read as the caller reads.
func (s *S3) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := CheckKey(key); err != nil {
		return nil, fmt.Errorf("get: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var body io.ReadCloser
	err := s.try(context.WithoutCancel(ctx), func(within context.Context) error {
		stop := context.AfterFunc(within, cancel) // a deadline for the headers alone
		var err error
		body, _, _, err = minio.Core{Client: s.client}.GetObject(ctx, s.bucket, s.prefix+key, minio.GetObjectOptions{})
		if !stop() && err == nil {
			body.Close()
			err = context.Cause(within)
		}
		return err
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	return &s3Body{ReadCloser: body, cancel: cancel}, nil
}

type s3Body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *s3Body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Stat asks for the object's size and time.
func (s *S3) Stat(ctx context.Context, key string) (Object, error) {
	if err := CheckKey(key); err != nil {
		return Object{}, fmt.Errorf("stat: %w", err)
	}
	var info minio.ObjectInfo
	err := s.try(ctx, func(ctx context.Context) (err error) {
		info, err = s.client.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
		return err
	})
	if err != nil {
		return Object{}, fmt.Errorf("stat %s: %w", key, err)
	}
	o := Object{Key: key, Size: info.Size, Modified: info.LastModified}
	o.LegalHold = info.Metadata.Get("X-Amz-Object-Lock-Legal-Hold") == "ON"
	o.RetainUntil, _ = time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date")) // zero without
	o.Encryption = info.Metadata.Get("X-Amz-Server-Side-Encryption")
	o.KMSKeyID = info.Metadata.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	return o, nil
}

// List asks for the objects a thousand at a time.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		if err := checkPrefix(prefix); err != nil {
			yield(Object{}, fmt.Errorf("list: %w", err))
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the client's goroutine when the caller has enough
		found := s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true})
		for o := range found {
			if o.Err != nil {
				s.refused(o.Err)
				yield(Object{}, fmt.Errorf("list %s: %w", prefix, o.Err))
				return
			}
			if !yield(Object{Key: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Modified: o.LastModified}, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Object{}, fmt.Errorf("list %s: %w", prefix, context.Cause(ctx)))
		}
	}
}

// Delete removes the object. In a bucket that keeps versions, the older ones stay.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	err := s.try(ctx, func(ctx context.Context) error {
		return s.client.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{})
	})
	if err != nil && !errors.Is(err, ErrNotExist) {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Purge removes every version of the object and every mark that one was deleted.
func (s *S3) Purge(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return fmt.Errorf("purge: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the client's goroutine when there is an error
	name := s.prefix + key
	for v := range s.client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: name, Recursive: true, WithVersions: true}) {
		if v.Err != nil {
			s.refused(v.Err)
			return fmt.Errorf("purge %s: %w", key, v.Err)
		}
		if v.Key != name {
			continue
		}
		err := s.try(ctx, func(ctx context.Context) error {
			return s.client.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{VersionID: v.VersionID})
		})
		if err != nil && !errors.Is(err, ErrNotExist) {
			return fmt.Errorf("purge %s: %w", key, s.whyKept(ctx, key, err))
		}
	}
	return nil
}

// whyKept tells a lock from other reasons for which an object was not removed.
func (s *S3) whyKept(ctx context.Context, key string, err error) error {
	locked := minio.ToErrorResponse(err).Code == "ObjectLocked"
	if o, serr := s.Stat(ctx, key); serr == nil && (locked || o.Retained(time.Now())) {
		return &RetainedError{Key: key, Until: o.RetainUntil, LegalHold: o.LegalHold, Err: err}
	}
	if locked {
		return &RetainedError{Key: key, Err: err}
	}
	return err
}

// String names the store in logs.
func (s *S3) String() string { return s.name }

func randomName() string { return rand.Text() }
