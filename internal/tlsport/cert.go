package tlsport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// lookEvery is how often the files of a certificate are looked at, at most.
const lookEvery = 5 * time.Second

// ownYears is how long a certificate made here is valid.
const ownYears = 10

// Load makes a server's TLS configuration of a certificate and its key.
func Load(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &cert{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// cert is a certificate that follows its files.
type cert struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	have   *tls.Certificate
	times  [2]time.Time // of the files that have is of, or that were refused
	looked time.Time
}

func (c *cert) load() error {
	c.times = [2]time.Time{changed(c.certFile), changed(c.keyFile)}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.have = &pair
	return nil
}

func changed(name string) time.Time {
	st, err := os.Stat(name)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

func (c *cert) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookEvery {
		c.looked = now
		c.follow()
	}
	return c.have, nil
}

// follow loads the files again where they have changed.
func (c *cert) follow() {
	if c.times == [2]time.Time{changed(c.certFile), changed(c.keyFile)} {
		return
	}
	if err := c.load(); err != nil {
		c.log.Error("new certificate not used, the old one stays", slog.Any("err", err))
		return
	}
	c.log.Info("new certificate in use", slog.String("file", c.certFile))
}

// Own gives the files of the certificate in dir, and makes them where there
// are none. hosts are names and addresses that it is for.
func Own(dir string, hosts []string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	_, err = os.Stat(keyFile)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return certFile, keyFile, err
	}
	certPEM, keyPEM, err := selfSigned(hosts)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	// The key last: it is what says that both are there.
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{{certFile, certPEM, 0o644}, {keyFile, keyPEM, 0o600}} {
		if err := writeWhole(f.name, f.text, f.mode); err != nil {
			return "", "", fmt.Errorf("write the certificate: %w", err)
		}
	}
	return certFile, keyFile, nil
}

func writeWhole(name string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

func selfSigned(hosts []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Varve, made by itself"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(ownYears, 0, 0),
		// No KeyUsage: with one that is for signatures alone, OpenSSL and BoringSSL, so Node's and Python's clients, can't be
		// told to trust this certificate.
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
