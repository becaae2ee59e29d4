{{- define "bifrost.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "bifrost.selector" -}}
app.kubernetes.io/name: bifrost
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: worker
{{- end }}

{{- define "bifrost.labels" -}}
{{ include "bifrost.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "bifrost.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "bifrost.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "bifrost.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}{{ end }}
{{- end }}

{{- define "bifrost.hasVolume" -}}
{{- if and .Values.storage.volume.enabled (not (and .Values.storage.revisions .Values.storage.payloads)) }}yes{{ end }}
{{- end }}

{{/* What every process of Bifrost is told of Temporal. */}}
{{- define "bifrost.temporalEnv" -}}
- {name: TEMPORAL_ADDRESS, value: {{ .Values.temporal.address | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ .Values.temporal.namespace | quote }}}
- {name: BIFROST_TASK_QUEUE, value: {{ .Values.worker.taskQueue | quote }}}
- {name: BIFROST_LOG_LEVEL, value: {{ .Values.worker.logLevel | quote }}}
{{- if .Values.temporal.apiKeySecret }}
- {name: TEMPORAL_API_KEY, valueFrom: {secretKeyRef: {name: {{ .Values.temporal.apiKeySecret }}, key: api-key}}}
{{- end }}
{{- with .Values.temporal.tls }}
{{- if .enabled }}
- {name: TEMPORAL_TLS, value: "true"}
{{- if .serverName }}
- {name: TEMPORAL_TLS_SERVER_NAME, value: {{ .serverName | quote }}}
{{- end }}
{{- if .secret }}
- {name: TEMPORAL_TLS_CLIENT_CERT_PATH, value: /etc/bifrost/temporal-tls/tls.crt}
- {name: TEMPORAL_TLS_CLIENT_KEY_PATH, value: /etc/bifrost/temporal-tls/tls.key}
{{- if .caFromSecret }}
- {name: TEMPORAL_TLS_SERVER_CA_CERT_PATH, value: /etc/bifrost/temporal-tls/ca.crt}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "bifrost.vaultEnv" -}}
{{- with .Values.vault }}
- {name: VAULT_ADDR, value: {{ .address | quote }}}
- {name: BIFROST_VAULT_MOUNT, value: {{ .mount | quote }}}
- {name: BIFROST_VAULT_PREFIX, value: {{ .prefix | quote }}}
- {name: VAULT_AUTH_METHOD, value: {{ .auth.method }}}
{{- if .namespace }}
- {name: VAULT_NAMESPACE, value: {{ .namespace | quote }}}
{{- end }}
{{- if .auth.mount }}
- {name: VAULT_AUTH_MOUNT, value: {{ .auth.mount | quote }}}
{{- end }}
{{- if .caSecret }}
- {name: VAULT_CACERT, value: /etc/bifrost/vault-ca/ca.crt}
{{- end }}
{{- if eq .auth.method "kubernetes" }}
- {name: VAULT_K8S_ROLE, value: {{ .auth.role | quote }}}
{{- else }}
- {name: VAULT_ROLE_ID_FILE, value: /etc/bifrost/vault-approle/role-id}
- {name: VAULT_SECRET_ID_FILE, value: /etc/bifrost/vault-approle/secret-id}
{{- end }}
{{- end }}
{{- end }}

{{- define "bifrost.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "bifrost.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
