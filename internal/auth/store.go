package auth

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"varve/internal/meta"
)

// What a request can fail with. Each is wrapped with the names of the case.
var (
	// ErrUnknown says that a request doesn't prove who it is from.
	ErrUnknown = errors.New("not authenticated")
	// ErrDenied says that the user may not do it.
	ErrDenied = errors.New("access denied")
	// ErrNotFound says that there is no such user, or nothing of the kind about it.
	ErrNotFound = errors.New("no such user or policy")
	// ErrExists says that there is such a user already.
	ErrExists = errors.New("the user exists already")
	// ErrBad says what is wrong with a user or policy to be stored.
	ErrBad = errors.New("bad user or policy")
)

// Config sets up a Store.
type Config struct {
	On      bool   // requests are checked
	Key     []byte // seals secrets; KeyBytes long
	Cluster string // the resource that administration is about
	Logger  *slog.Logger
	Now     func() time.Time // time.Now
}

// Store holds users and policies and judges requests. The nil Store is off.
type Store struct {
	on      bool
	cluster string
	seal    cipher.AEAD
	log     *slog.Logger
	now     func() time.Time

	mu    sync.Mutex // serializes changes
	users *meta.Settings[stored]
	acls  *meta.Settings[ACL]

	own             *principal // this process
	known           atomic.Pointer[map[string]*principal]
	unknown, denied tally        // requests refused
	told            atomic.Int64 // ns since 1970 of the last refusal that was logged
}

// Open reads the users and policies of a state store.
func Open(m *meta.Store, c Config) (*Store, error) {
	seal, err := sealer(c.Key)
	if err != nil {
		return nil, fmt.Errorf("access control: %w", err)
	}
	s := &Store{on: c.On, cluster: c.Cluster, seal: seal, log: c.Logger, now: c.Now}
	s.own = newPrincipal(&stored{Name: ownName, Super: true}, []byte(NewPassword()))
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.users, err = meta.LoadSettings(m, meta.SettingsOf[stored]{
		What:  "auth-user",
		Name:  func(u *stored) string { return u.Name },
		New:   func(name string) stored { return stored{Name: name} },
		Check: func(u *stored) error { return checkName(u.Name) },
		Clone: (*stored).clone,
		Equal: (*stored).equal,
	})
	if err != nil {
		return nil, err
	}
	s.acls, err = meta.LoadSettings(m, meta.SettingsOf[ACL]{
		What:  "auth-acl",
		Name:  func(a *ACL) string { return a.Subject },
		New:   func(subject string) ACL { return ACL{Subject: subject} },
		Check: func(a *ACL) error { _, err := a.compile(); return err },
		Clone: (*ACL).clone,
		Equal: func(*ACL, *ACL) bool { return false },
	})
	if err != nil {
		return nil, err
	}
	if err := s.rebuild(); err != nil {
		return nil, fmt.Errorf("access control: %w", err)
	}
	return s, nil
}

// ownName is the user that this process is towards itself. No user that is
// stored can have that name.
const ownName = "(varve)"

// Own gives the credentials by which parts of this process call others of it.
// They are new with each start.
func (s *Store) Own() (user, secret string) { return ownName, string(s.own.secret) }

// Enabled reports whether requests are checked.
func (s *Store) Enabled() bool { return s != nil && s.on }

// Cluster is the resource that administration is about.
func (s *Store) Cluster() Resource { return Cluster(s.cluster) }

// rebuild makes the principals of users and policies, and shows them.
func (s *Store) rebuild() error {
	all := map[string]*principal{ownName: s.own}
	for _, u := range s.users.All() {
		secret, err := u.secret(s.seal)
		if err != nil {
			return err
		}
		p := newPrincipal(u, secret)
		if a, ok := s.acls.Get(Subject(u.Name)); ok {
			if p.rules, err = a.compile(); err != nil {
				return fmt.Errorf("policies of %s: %w", a.Subject, err)
			}
		}
		all[u.Name] = p
	}
	s.known.Store(&all)
	return nil
}

// HasSuper reports whether there is a super user that is enabled.
func (s *Store) HasSuper() bool { return s.supersBut("") > 0 }

func (s *Store) supersBut(name string) int {
	n := 0
	for _, u := range s.users.All() {
		if u.Super && !u.Off && u.Name != name {
			n++
		}
	}
	return n
}

// mayChange holds a change of a super user to who may make one.
func mayChange(by Identity, super bool) error {
	if super && !by.Super {
		return fmt.Errorf("%w: user %q is no super user and may not change one", ErrDenied, by.User)
	}
	return nil
}

// CreateUser adds a user; by is who asks for it.
func (s *Store) CreateUser(by Identity, u User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkName(u.Name); err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	if _, ok := s.users.Get(u.Name); ok {
		return fmt.Errorf("%w: %q", ErrExists, u.Name)
	}
	made := stored{Name: u.Name}
	if u.Password == "" {
		return fmt.Errorf("%w: user %q: a new user needs a password", ErrBad, u.Name)
	}
	if err := made.set(u, s.seal); err != nil {
		return fmt.Errorf("%w: user %q: %w", ErrBad, u.Name, err)
	}
	if err := mayChange(by, made.Super); err != nil {
		return err
	}
	return s.save(by, "user created", made)
}

// UpdateUser changes what u names of a user; empty fields stay as they are.
func (s *Store) UpdateUser(by Identity, u User) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.users.Get(u.Name)
	if !ok {
		return fmt.Errorf("%w: user %q", ErrNotFound, u.Name)
	}
	next := *old.clone()
	if err := next.set(u, s.seal); err != nil {
		return fmt.Errorf("%w: user %q: %w", ErrBad, u.Name, err)
	}
	if err := mayChange(by, old.Super || next.Super); err != nil {
		return err
	}
	if old.Super && !old.Off && (!next.Super || next.Off) && s.lastSuper(u.Name) {
		return fmt.Errorf("%w: user %q is the last super user; make another first", ErrBad, u.Name)
	}
	return s.save(by, "user changed", next)
}

func (s *Store) lastSuper(name string) bool { return s.on && s.supersBut(name) == 0 }

func (s *Store) save(by Identity, what string, u stored) error {
	if _, err := s.users.Put(u); err != nil {
		return err
	}
	s.log.Info(what, slog.String("user", u.Name), slog.Bool("super", u.Super), slog.Bool("disabled", u.Off), slog.String("by", by.User))
	return s.rebuild()
}

// DeleteUser removes a user and its policies.
func (s *Store) DeleteUser(by Identity, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, ok := s.users.Get(name)
	if !ok {
		return fmt.Errorf("%w: user %q", ErrNotFound, name)
	}
	if err := mayChange(by, old.Super); err != nil {
		return err
	}
	if old.Super && !old.Off && s.lastSuper(name) {
		return fmt.Errorf("%w: user %q is the last super user; make another first", ErrBad, name)
	}
	// The policies first: a crash in between leaves a user who may do nothing.
	if _, err := s.acls.Delete(Subject(name)); err != nil {
		return err
	}
	if _, err := s.users.Delete(name); err != nil {
		return err
	}
	s.log.Info("user deleted", slog.String("user", name), slog.String("by", by.User))
	return s.rebuild()
}

// User finds a user.
func (s *Store) User(name string) (User, error) {
	u, ok := s.users.Get(name)
	if !ok {
		return User{}, fmt.Errorf("%w: user %q", ErrNotFound, name)
	}
	return u.user(), nil
}

// Users gives the users whose name contains filter, in the order of names.
func (s *Store) Users(filter string) []User {
	out := []User{}
	for _, u := range s.users.All() {
		if strings.Contains(u.Name, filter) {
			out = append(out, u.user())
		}
	}
	return out
}

// PutACL adds entries to the policies of a subject. An entry of the same type
// and resource is replaced.
func (s *Store) PutACL(by Identity, a ACL) error {
	a, err := a.normal()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	if len(a.Policies) == 0 {
		return fmt.Errorf("%w: policies of %s: no entry", ErrBad, a.Subject)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkSubject(by, a.Subject); err != nil {
		return err
	}
	next := &ACL{Subject: a.Subject}
	if old, ok := s.acls.Get(a.Subject); ok {
		next = old.clone()
	}
	for _, p := range a.Policies {
		for _, e := range p.Entries {
			next.put(p.Type, e)
		}
	}
	if _, err := s.acls.Put(*next); err != nil {
		return err
	}
	s.log.Info("policies changed", slog.String("subject", a.Subject), slog.String("by", by.User))
	return s.rebuild()
}

// checkSubject finds the user of a subject and whether its policies may be
// changed.
func (s *Store) checkSubject(by Identity, subject string) error {
	name, err := parseSubject(subject)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBad, err)
	}
	u, ok := s.users.Get(name)
	if !ok {
		return fmt.Errorf("%w: user %q", ErrNotFound, name)
	}
	return mayChange(by, u.Super)
}

// DeleteACL removes the entry of a resource (of the Custom policy where kind is
// empty), or all policies of the subject where resource is empty.
func (s *Store) DeleteACL(by Identity, subject, kind, resource string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkSubject(by, subject); err != nil {
		return err
	}
	user, _ := parseSubject(subject)
	subject = Subject(user)
	old, ok := s.acls.Get(subject)
	if !ok {
		return fmt.Errorf("%w: %s has no policies", ErrNotFound, subject)
	}
	next := old.clone()
	if resource == "" {
		next.Policies = nil
	} else {
		p, err := parsePattern(resource)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBad, err)
		}
		if strings.EqualFold(kind, Default) {
			kind = Default
		} else {
			kind = Custom
		}
		if !next.remove(kind, p.String()) {
			return fmt.Errorf("%w: %s has no %s entry for %s", ErrNotFound, subject, kind, p)
		}
	}
	var err error
	if len(next.Policies) == 0 {
		_, err = s.acls.Delete(subject)
	} else {
		_, err = s.acls.Put(*next)
	}
	if err != nil {
		return err
	}
	s.log.Info("policies removed", slog.String("subject", subject), slog.String("resource", resource), slog.String("by", by.User))
	return s.rebuild()
}

// ACL finds the policies of a subject; ok is false where it has none.
func (s *Store) ACL(subject string) (a ACL, ok bool, err error) {
	user, err := parseSubject(subject)
	if err != nil {
		return a, false, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if _, ok := s.users.Get(user); !ok {
		return a, false, fmt.Errorf("%w: user %q", ErrNotFound, user)
	}
	have, ok := s.acls.Get(Subject(user))
	if !ok {
		return a, false, nil
	}
	return *have.clone(), true, nil
}

// ACLs gives the policies of the subjects that contain subject, those entries
// whose resource contains resource.
func (s *Store) ACLs(subject, resource string) []ACL {
	out := []ACL{}
	for _, a := range s.acls.All() {
		if !strings.Contains(a.Subject, subject) {
			continue
		}
		c := a.clone()
		for i := range c.Policies {
			p := &c.Policies[i]
			p.Entries = slices.DeleteFunc(p.Entries, func(e Entry) bool { return !strings.Contains(e.Resource, resource) })
		}
		c.Policies = slices.DeleteFunc(c.Policies, func(p Policy) bool { return len(p.Entries) == 0 })
		if len(c.Policies) > 0 {
			out = append(out, *c)
		}
	}
	return out
}
