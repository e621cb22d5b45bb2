// Package auth knows who may do what: users with their secrets, policies in
// the model of RocketMQ's ACL 2.0, the signatures of RocketMQ's three
// protocols, and decisions.
//
// A user proves who it is by a signature over the request (remoting, gRPC, the
// HTTP protocol of the aliyunmq SDKs) or by HTTP's Basic authentication. A
// super user may do everything. What another may do is said by the entries of
// its policies: resource, actions, source addresses, Allow or Deny. Of the
// entries that match a request, the one with the most particular resource
// decides, Deny before Allow; entries of the Default policy count only where
// none of the Custom policy matches. Where none matches the request is denied.
//
// Invariants:
//   - A Store that is off lets everything through as a super user and reads
//     nothing of a request; users and policies can be kept in it all the same.
//   - A signature needs the secret itself, so secrets can't be hashed: they are
//     stored sealed (AES-256-GCM, the user's name authenticated) under a key
//     that is not in the state store. No method gives a secret back, and no log
//     line or error holds one.
//   - Readers take no lock: a change builds all principals anew and shows them
//     at once. A change is on disk before it counts.
//   - While a Store is on it always has a super user that is enabled.
package auth
