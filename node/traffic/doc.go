// Package traffic translates what the Kubernetes API says of services and ingresses into the plain pictures that the data
// plane, the DNS server and the ingress work from. It is level-triggered: an event only wakes it; it rereads its caches and
// hands over whole pictures.
package traffic
