package clients

import (
	"os"
	"path/filepath"
)

// accessScenes ask who one is and what one may.
func accessScenes() []scene {
	return []scene{
		{"auth can-i and whoami", func(a *actor) {
			a.ok("kubectl auth whoami", `^Username +orpheus-admin$`, `system:masters`)
			a.ok("kubectl auth can-i create deployments", `^yes$`)
			a.ok("kubectl auth can-i --list", `^\*\.\* +\[\] +\[\] +\[\*\]$`)
			a.code(1, "kubectl auth can-i list secrets --as=stranger", `^no$`)
			a.ok("kubectl auth can-i --list --as=stranger", `selfsubjectaccessreviews.authorization.k8s.io`, `!^\*\.\*`)
			a.no("kubectl get pods --as=stranger", `\(Forbidden\): pods is forbidden: User "stranger" cannot list resource "pods" in API group "" in the namespace "`+a.namespace()+`"`)
		}},
		{"a user gets what roles give, and no more", func(a *actor) {
			a.user("ann", "ann.kubeconfig")
			ann := "kubectl --kubeconfig=ann.kubeconfig -n $NS "
			a.ok(ann+"auth whoami", `^Username +ann$`, `!system:masters`)
			a.code(1, ann+"get pods", `\(Forbidden\): pods is forbidden: User "ann" cannot list resource "pods"`)
			a.code(1, ann+"create configmap anns", `User "ann" cannot create resource "configmaps"`)
			a.no("kubectl get configmap anns", `NotFound`)
			a.ok("kubectl create role reader --verb=get,list,watch --resource=pods,pods/log", `role.rbac.authorization.k8s.io/reader created`)
			a.ok("kubectl create rolebinding ann-reads --role=reader --user=ann", `rolebinding.rbac.authorization.k8s.io/ann-reads created`)
			a.soon(ann+"get pod talker", `^talker`)
			a.ok(ann+"auth can-i list pods", `^yes$`)
			a.ok(ann+"logs talker -c side", `^aside$`)
			a.code(1, ann+"exec talker -- true", `User "ann" cannot (create|get) resource "pods/exec"`)
			a.code(1, ann+"delete pod talker", `User "ann" cannot delete resource "pods"`)
			a.code(1, ann+"create rolebinding up --clusterrole=cluster-admin --user=ann", `(?i)forbidden`)
			a.ok(ann+"auth can-i --list", `^pods +\[\] +\[\] +\[get list watch\]$`)
			a.ok("kubectl delete rolebinding ann-reads")
			a.soon("! "+ann+"get pod talker", `Forbidden`)
		}},
		{"roles that come with Kubernetes", func(a *actor) {
			a.user("ben", "ben.kubeconfig")
			ben := "kubectl --kubeconfig=ben.kubeconfig -n $NS "
			a.ok("kubectl create rolebinding ben-views --clusterrole=view --user=ben")
			a.soon(ben+"get pods,services,deployments", `talker`)
			a.code(1, ben+"get secrets", `Forbidden`)
		}},
		{"tokens of service accounts", func(a *actor) {
			a.ok("kubectl create serviceaccount robot", `serviceaccount/robot created`)
			a.ok("kubectl config view --raw --minify -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d >ca.crt && kubectl create token robot --duration=20m >token")
			bare := "kubectl --kubeconfig=/dev/null --server=https://$ADDR:6443 --certificate-authority=ca.crt -n $NS "
			a.ok(bare+"--token=$(cat token) auth whoami", `^Username +system:serviceaccount:`+a.namespace()+`:robot$`)
			a.no(bare+"--token=$(cat token) get pods", `User "system:serviceaccount:`+a.namespace()+`:robot" cannot list resource "pods"`)
			a.ok("kubectl create rolebinding robot-edits --clusterrole=cluster-admin --serviceaccount=$NS:robot")
			a.soon(bare+"--token=$(cat token) get pod talker", `talker`)
			a.no(bare+"--token=$(cat token)x get pods", `Unauthorized`)
			a.ok("kubectl delete serviceaccount robot")
			a.soon("! "+bare+"--token=$(cat token) get pod talker", `Unauthorized`)
		}},
		{"a pod speaks to the API as itself", func(a *actor) {
			a.ok("kubectl exec talker -c side -- cat /var/run/secrets/kubernetes.io/serviceaccount/namespace", `^`+a.namespace()+`$`)
			a.ok(`kubectl exec talker -c side -- cat /var/run/secrets/kubernetes.io/serviceaccount/token >pod.token; kubectl --kubeconfig=/dev/null --insecure-skip-tls-verify --server=https://$ADDR:6443 --token=$(cat pod.token) auth whoami`,
				`system:serviceaccount:`+a.namespace()+`:default`, `pod-name.*talker`)
		}},
		{"anonymous and strangers are refused", func(a *actor) {
			a.ok("curl -sk --max-time 10 -w '%{http_code}' https://$ADDR:6443/api/v1/namespaces/$NS/pods", `"reason": ?"Unauthorized"`, `401\z`)
			a.ok("curl -sk --max-time 10 -o /dev/null -w '%{http_code}' https://$ADDR:6443/api/v1/namespaces/$NS/secrets", `\A401\z`)
			a.no("kubectl --kubeconfig=/dev/null --insecure-skip-tls-verify --server=https://$ADDR:6443 --token=nonsense get pods", `Unauthorized`)
			a.no("curl -s --max-time 10 https://$ADDR:6443/api", `\A\z`)
		}},
		{"a kubeconfig of another mesh", func(a *actor) {
			a.ok(`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/O=system:masters/CN=orpheus-admin" -keyout key -out crt 2>/dev/null && sed 's/certificate-authority-data: .*/certificate-authority-data: '$(base64 -w0 crt)'/' $KUBECONFIG >wrong-ca`)
			a.no("kubectl --kubeconfig=wrong-ca get pods", `x509: certificate signed by unknown authority|failed to verify certificate`)
			a.ok(`sed 's/client-certificate-data: .*/client-certificate-data: '$(base64 -w0 crt)'/; s/client-key-data: .*/client-key-data: '$(base64 -w0 key)'/' $KUBECONFIG >wrong-user`)
			a.no("kubectl --kubeconfig=wrong-user get pods", `Unauthorized|(?i)bad certificate|unknown certificate authority`)
			a.no("kubectl --kubeconfig=absent get pods", `absent`)
			a.no("kubectl --server=https://$ADDR:6444 get pods", `(?i)connection.*refused`)
		}},
	}
}

// user writes a kubeconfig for a person without any power.
func (a *actor) user(name, file string) {
	a.t.Helper()
	b, err := a.mesh.Orpheus(a.ctx, a.at, nil, "kubeconfig", "--user", name)
	check(a.t, err)
	check(a.t, os.WriteFile(filepath.Join(a.dir, file), b, 0o600))
}
