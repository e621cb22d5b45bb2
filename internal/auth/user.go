package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Types and states of a user, by RocketMQ's names.
const (
	Super   = "Super"
	Normal  = "Normal"
	Enabled = "enable"
	Disable = "disable"
)

// User is a user as others see it. The JSON names are RocketMQ's. Password is
// only ever set by who creates or changes a user.
type User struct {
	Name     string `json:"username"`
	Password string `json:"password,omitempty"`
	Type     string `json:"userType"`   // Super or Normal
	Status   string `json:"userStatus"` // enable or disable
}

// stored is a user in the state store.
type stored struct {
	Name   string `json:"name"`
	Sealed []byte `json:"sealed"` // nonce and sealed secret
	Super  bool   `json:"super,omitempty"`
	Off    bool   `json:"off,omitempty"`
}

func (u *stored) user() User {
	out := User{Name: u.Name, Type: Normal, Status: Enabled}
	if u.Super {
		out.Type = Super
	}
	if u.Off {
		out.Status = Disable
	}
	return out
}

func (u *stored) clone() *stored {
	d := *u
	d.Name, d.Sealed = strings.Clone(u.Name), slices.Clone(u.Sealed)
	return &d
}

func (u *stored) equal(v *stored) bool {
	return u.Name == v.Name && slices.Equal(u.Sealed, v.Sealed) && u.Super == v.Super && u.Off == v.Off
}

// Limits of a user.
const (
	maxUserName = 128
	maxPassword = 256
)

// checkName reports why a name can't be a user's. What the protocols put
// between names and signatures (":", "/", ",", "=") can't be in one.
func checkName(name string) error {
	if name == "" || len(name) > maxUserName {
		return fmt.Errorf("user name of %d bytes, want 1 to %d", len(name), maxUserName)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_-.@", c) >= 0:
		default:
			return fmt.Errorf("user name %q has a character outside [a-zA-Z0-9_.@-]", name)
		}
	}
	return nil
}

func checkPassword(p string) error {
	if p == "" || len(p) > maxPassword {
		return fmt.Errorf("password of %d bytes, want 1 to %d", len(p), maxPassword)
	}
	return nil
}

// set takes over what a request says of a user; what it leaves empty stays.
func (u *stored) set(to User, seal cipher.AEAD) error {
	switch {
	case to.Type == "":
	case strings.EqualFold(to.Type, Super):
		u.Super = true
	case strings.EqualFold(to.Type, Normal):
		u.Super = false
	default:
		return fmt.Errorf("user type %q is neither Super nor Normal", to.Type)
	}
	switch {
	case to.Status == "":
	case strings.EqualFold(to.Status, Enabled):
		u.Off = false
	case strings.EqualFold(to.Status, Disable):
		u.Off = true
	default:
		return fmt.Errorf("user status %q is neither enable nor disable", to.Status)
	}
	if to.Password == "" {
		return nil
	}
	if err := checkPassword(to.Password); err != nil {
		return err
	}
	nonce := make([]byte, seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	u.Sealed = seal.Seal(nonce, nonce, []byte(to.Password), []byte(u.Name))
	return nil
}

func (u *stored) secret(seal cipher.AEAD) ([]byte, error) {
	n := seal.NonceSize()
	if len(u.Sealed) < n {
		return nil, fmt.Errorf("secret of user %q is cut off", u.Name)
	}
	secret, err := seal.Open(nil, u.Sealed[:n], u.Sealed[n:], []byte(u.Name))
	if err != nil {
		return nil, fmt.Errorf("secret of user %q can't be opened: this key didn't seal it", u.Name)
	}
	return secret, nil
}

// KeyBytes is the length of the key that seals secrets.
const KeyBytes = 32

// NewKey makes a key that seals secrets.
func NewKey() []byte {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // never fails
	return key
}

// NewPassword makes a password that nobody guesses.
func NewPassword() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

func sealer(key []byte) (cipher.AEAD, error) {
	if len(key) != KeyBytes {
		return nil, errors.New("the key that seals secrets has the wrong length")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
