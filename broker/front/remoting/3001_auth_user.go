package remoting

import (
	"encoding/json"
	"errors"

	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// authErr gives the errors of access control the codes that RocketMQ's tools
// show.
func authErr(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrBad):
		return refused(wire.InvalidParameter, "%v", err)
	case errors.Is(err, auth.ErrDenied), errors.Is(err, auth.ErrNotFound), errors.Is(err, auth.ErrExists):
		return refused(wire.NoPermission, "%v", err)
	}
	return err
}

// store is where users and policies are.
func (f *Front) store() (*auth.Store, error) {
	if f.cfg.Auth == nil {
		return nil, refused(wire.RequestCodeNotSupported, "this broker keeps no users")
	}
	return f.cfg.Auth, nil
}

// putUser handles codes 3001 and 3002, whose header names the user and whose
// body has the rest.
func (f *Front) putUser(req *wire.Command, put func(*auth.Store, auth.Identity, auth.User) error) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	p := req.Ext.Parse()
	name := p.Str("username")
	if err := p.Err(); err != nil {
		return nil, refused(wire.InvalidParameter, "The username is blank")
	}
	var u auth.User
	if err := json.Unmarshal(req.Body, &u); err != nil {
		return nil, refused(wire.InvalidParameter, "user %q: the body is not the JSON that it should be", name)
	}
	u.Name = name
	if err := put(s, f.caller(req).Identity, u); err != nil {
		return nil, authErr(err)
	}
	return ok()
}

// 3001 AUTH_CREATE_USER: add a user; body {"password","userType","userStatus"}.
//
// Versions: 5.3 on.
//
// Behaviours: only a super user makes a super user.
func (f *Front) createUser(_ *session, req *wire.Command) (*wire.Command, error) {
	return f.putUser(req, (*auth.Store).CreateUser)
}

// 3002 AUTH_UPDATE_USER: change what the body names of a user.
//
// Versions: 5.3 on.
func (f *Front) updateUser(_ *session, req *wire.Command) (*wire.Command, error) {
	return f.putUser(req, (*auth.Store).UpdateUser)
}

// 3003 AUTH_DELETE_USER: remove a user and its policies.
//
// Versions: 5.3 on.
//
// Behaviours: the last super user stays; a user that isn't there is success.
func (f *Front) deleteUser(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	err = s.DeleteUser(f.caller(req).Identity, req.Ext.Get("username"))
	if err != nil && !errors.Is(err, auth.ErrNotFound) {
		return nil, authErr(err)
	}
	return ok()
}

// 3004 AUTH_GET_USER: one user.
//
// Versions: 5.3 on.
//
// Behaviours: no body where there is none. Never shows a password, unlike
// RocketMQ.
func (f *Front) getUser(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	u, err := s.User(req.Ext.Get("username"))
	if errors.Is(err, auth.ErrNotFound) {
		return ok()
	}
	if err != nil {
		return nil, authErr(err)
	}
	return withJSON(u)
}

// 3005 AUTH_LIST_USER: the users whose name contains filter.
//
// Versions: 5.3 on.
//
// Behaviours: as code 3004.
func (f *Front) listUsers(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	users := s.Users(req.Ext.Get("filter"))
	if len(users) == 0 {
		return ok()
	}
	return withJSON(users)
}
