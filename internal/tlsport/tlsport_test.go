package tlsport

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// own makes a certificate and a pool that trusts it.
func own(t *testing.T, dir string) (certFile, keyFile string, trust *x509.CertPool) {
	t.Helper()
	certFile, keyFile, err := Own(dir, []string{"127.0.0.1", "varve.test"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	if !trust.AppendCertsFromPEM(text) {
		t.Fatal("no certificate")
	}
	return certFile, keyFile, trust
}

func TestOwnCertificateStays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	certFile, keyFile, _ := own(t, dir)
	first, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(keyFile); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", st.Mode(), err)
	}
	own(t, dir)
	if again, err := os.ReadFile(certFile); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the certificate was made anew: %v", err)
	}
	if _, err := Load(certFile, certFile, nil); err == nil || !strings.Contains(err.Error(), certFile) {
		t.Errorf("a key that is none: %v", err)
	}
	if _, _, err := Own(filepath.Join(certFile, "x"), nil); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory in a file: %v", err)
	}
}

// OpenSSL and BoringSSL look for the issuer of a certificate that is its own,
// and take none whose usage doesn't say that it signs certificates.
func TestOwnCertificateCanBeTrusted(t *testing.T) {
	certFile, _, _ := own(t, t.TempDir())
	text, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Errorf("key usage %b of a certificate that has to be its own issuer", c.KeyUsage)
	}
	if c.IsCA {
		t.Error("it could sign others")
	}
}

// One port answers HTTP with TLS and without; with only, without is refused.
func TestListen(t *testing.T) {
	certFile, keyFile, trust := own(t, t.TempDir())
	cfg, err := Load(certFile, keyFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, only := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(Listen(ln, cfg, only, "http/1.1")) }()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true}}
		for scheme, want := range map[string]bool{"https://": true, "http://": !only} {
			resp, err := client.Get(scheme + ln.Addr().String())
			if want != (err == nil) {
				t.Errorf("only %v, %s: %v", only, scheme, err)
			}
			if err != nil {
				continue
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
				t.Errorf("only %v, %s: %q, %v", only, scheme, body, err)
			}
			_ = resp.Body.Close()
		}
		_ = srv.Close()
		<-done
	}
	plain, _ := net.Listen("tcp", "127.0.0.1:0")
	defer plain.Close()
	if Listen(plain, nil, false) != plain {
		t.Error("a listener without TLS has a layer")
	}
}

// New files are used by the next connection; bad ones are not.
func TestCertificateFollowsItsFiles(t *testing.T) {
	certFile, keyFile, _ := own(t, t.TempDir())
	var log bytes.Buffer
	c := &cert{certFile: certFile, keyFile: keyFile, log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := c.load(); err != nil {
		t.Fatal(err)
	}
	ask := func() *tls.Certificate {
		t.Helper()
		c.looked = time.Time{}
		got, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	first := ask()
	if ask() != first {
		t.Error("files that didn't change were loaded")
	}
	replace := func(name string, text []byte, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(age)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	replace(certFile, []byte("none"), time.Minute)
	if ask() != first || !strings.Contains(log.String(), "the old one stays") {
		t.Errorf("a bad certificate: %s", log.String())
	}
	certPEM, keyPEM, err := selfSigned([]string{"other.test"})
	if err != nil {
		t.Fatal(err)
	}
	replace(certFile, certPEM, 2*time.Minute)
	replace(keyFile, keyPEM, 2*time.Minute)
	if second := ask(); second == first || !bytes.Equal(second.Leaf.Raw, second.Certificate[0]) || second.Leaf.DNSNames[0] != "other.test" {
		t.Error("the new certificate is not used")
	}
}
