package remoting

import (
	"encoding/json"

	"varve/internal/auth"
	wire "varve/internal/remoting"
)

// 3006 AUTH_CREATE_ACL and 3007 AUTH_UPDATE_ACL: add entries to the policies
// of a subject ("User:alice"); body {"subject","policies":[…]}.
//
// Versions: 5.3 on.
//
// Behaviours: both do the same, as with RocketMQ: entries of a resource that
// there is already are replaced, others stay.
func (f *Front) putACL(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	var a auth.ACL
	if err := json.Unmarshal(req.Body, &a); err != nil {
		return nil, refused(wire.InvalidParameter, "policies: the body is not the JSON that it should be: %v", err)
	}
	if subject := req.Ext.Get("subject"); a.Subject == "" {
		a.Subject = subject
	}
	if err := s.PutACL(f.caller(req).Identity, a); err != nil {
		return nil, authErr(err)
	}
	return ok()
}

// 3008 AUTH_DELETE_ACL: remove the entry of a resource, or all policies of a
// subject where the request names none.
//
// Versions: 5.3 on.
//
// Behaviours: policyType is Custom where it isn't given.
func (f *Front) deleteACL(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	x := &req.Ext
	if err := s.DeleteACL(f.caller(req).Identity, x.Get("subject"), x.Get("policyType"), x.Get("resource")); err != nil {
		return nil, authErr(err)
	}
	return ok()
}

// 3009 AUTH_GET_ACL: the policies of a subject.
//
// Versions: 5.3 on.
//
// Behaviours: no body where it has none.
func (f *Front) getACL(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	a, has, err := s.ACL(req.Ext.Get("subject"))
	if err != nil {
		return nil, authErr(err)
	}
	if !has {
		return ok()
	}
	return withJSON(a)
}

// 3010 AUTH_LIST_ACL: policies by parts of the subjects' and resources' names.
//
// Versions: 5.3 on.
func (f *Front) listACLs(_ *session, req *wire.Command) (*wire.Command, error) {
	s, err := f.store()
	if err != nil {
		return nil, err
	}
	acls := s.ACLs(req.Ext.Get("subjectFilter"), req.Ext.Get("resourceFilter"))
	if len(acls) == 0 {
		return ok()
	}
	return withJSON(acls)
}
