//! `listeners`, `advertised.listeners`, `listener.security.protocol.map`: what they may say together.

use super::settings::{ConfigError, Settings};

/// One entry of `listeners` with what is advertised for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSettings {
    /// In upper case.
    pub name: String,
    /// Empty: every address of this machine.
    pub bind_host: String,
    /// 0: any free port.
    pub bind_port: u16,
    /// Empty: this machine's name.
    pub advertised_host: String,
    /// 0: the port it is bound to.
    pub advertised_port: u16,
    /// False for a listener that clients are not told of.
    pub is_advertised: bool,
    /// Nothing was said of where clients reach it: they are told the address that they came by.
    pub follows_client: bool,
    /// Named in `controller.listener.names`.
    pub is_controller: bool,
}

impl ListenerSettings {
    /// Where a program on this machine reaches it.
    pub fn local_address(&self) -> String {
        let host = match self.bind_host.as_str() {
            "" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let port = self.bind_port;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

struct Endpoint {
    name: String,
    host: String,
    port: u16,
}

/// `NAME://host:port`, where the host may be empty or an IPv6 address in brackets.
fn read_endpoint(key: &str, text: &str) -> Result<Endpoint, ConfigError> {
    let fail = || {
        ConfigError::new(format!(
            "Invalid value {text} for configuration {key}: Unable to parse {text} to a broker endpoint"
        ))
    };
    let (name, address) = text.trim().split_once("://").ok_or_else(fail)?;
    let (host, port) = address.rsplit_once(':').ok_or_else(fail)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte);
    if name.is_empty() || !host.bytes().all(fits) {
        return Err(fail());
    }
    let port = port.parse().map_err(|_| fail())?;
    Ok(Endpoint { name: name.to_uppercase(), host: host.to_owned(), port })
}

fn read_endpoints(settings: &Settings, key: &str) -> Result<Vec<Endpoint>, ConfigError> {
    let endpoints: Vec<Endpoint> =
        settings.list(key).iter().map(|text| read_endpoint(key, text)).collect::<Result<_, _>>()?;
    for (index, endpoint) in endpoints.iter().enumerate() {
        if endpoints[..index].iter().any(|other| other.name == endpoint.name) {
            return Err(ConfigError::new(format!(
                "Each listener must have a different name, {key}: {}",
                settings.text(key).unwrap_or_default()
            )));
        }
    }
    Ok(endpoints)
}

/// Reads and checks everything about listeners.
pub fn read_listeners(settings: &Settings) -> Result<Vec<ListenerSettings>, ConfigError> {
    let bound = read_endpoints(settings, "listeners")?;
    for (index, endpoint) in bound.iter().enumerate() {
        let same_port = |other: &&Endpoint| {
            let both_families = other.host.contains(':') != endpoint.host.contains(':')
                && !other.host.is_empty()
                && !endpoint.host.is_empty();
            endpoint.port != 0 && other.port == endpoint.port && !both_families
        };
        if bound[..index].iter().any(|other| same_port(&other)) {
            return Err(ConfigError::new(format!(
                "Each listener must have a different port, listeners: {}",
                settings.text("listeners").unwrap_or_default()
            )));
        }
    }
    let controllers: Vec<String> =
        settings.list("controller.listener.names").iter().map(|name| name.to_uppercase()).collect();
    let advertised = match settings.text("advertised.listeners") {
        Some(_) => Some(read_endpoints(settings, "advertised.listeners")?),
        None => None,
    };
    if let Some(advertised) = &advertised {
        for endpoint in advertised {
            if !bound.iter().any(|other| other.name == endpoint.name) {
                let known: Vec<&str> = bound.iter().map(|endpoint| endpoint.name.as_str()).collect();
                return Err(ConfigError::new(format!(
                    "advertised.listeners listener names must be equal to or a subset of the ones defined in \
                     listeners. Found {}. The valid options based on the current configuration are {}",
                    endpoint.name,
                    known.join(",")
                )));
            }
            if controllers.contains(&endpoint.name) && settings.is_broker() {
                // Kafka allows it since 3.9, as what other nodes are told of the controller.
                continue;
            }
        }
    }
    let protocols = read_protocols(settings, &controllers)?;
    let mut listeners = Vec::with_capacity(bound.len());
    for endpoint in bound {
        let is_controller = controllers.contains(&endpoint.name);
        check_protocol(&endpoint.name, &protocols)?;
        let public = match &advertised {
            Some(advertised) => {
                // A controller listener need not be advertised; where it is not, it is known by what it is bound to.
                let bound = is_controller.then_some(&endpoint);
                advertised.iter().find(|other| other.name == endpoint.name).or(bound)
            }
            None => Some(&endpoint),
        };
        let is_everywhere = matches!(endpoint.host.as_str(), "" | "0.0.0.0" | "::");
        let follows_client = advertised.is_none() && is_everywhere && !is_controller;
        if let Some(public) = public
            && matches!(public.host.as_str(), "0.0.0.0" | "::")
            && !is_controller
            && !follows_client
        {
            return Err(ConfigError::new(format!(
                "advertised.listeners cannot use the nonroutable meta-address {}. Use a routable IP address.",
                public.host
            )));
        }
        listeners.push(ListenerSettings {
            advertised_host: match public {
                Some(public) if !follows_client => public.host.clone(),
                _ => String::new(),
            },
            advertised_port: public.map_or(0, |public| public.port),
            is_advertised: public.is_some() && !is_controller,
            follows_client,
            name: endpoint.name,
            bind_host: endpoint.host,
            bind_port: endpoint.port,
            is_controller,
        });
    }
    if settings.is_broker() && !listeners.iter().any(|listener| listener.is_advertised) {
        return Err(ConfigError::new(
            "There must be at least one broker advertised listener. Perhaps all listeners appear in controller.listener.names?",
        ));
    }
    check_inter_broker(settings, &listeners)?;
    Ok(listeners)
}

/// Listener name and security protocol, in the order given.
fn read_protocols(settings: &Settings, controllers: &[String]) -> Result<Vec<(String, String)>, ConfigError> {
    let key = "listener.security.protocol.map";
    let mut protocols = Vec::new();
    for entry in settings.list(key) {
        let (name, protocol) = entry.split_once(':').ok_or_else(|| {
            ConfigError::new(format!(
                "Invalid value {entry} for configuration {key}: an entry is written as NAME:PROTOCOL"
            ))
        })?;
        let (name, protocol) = (name.trim().to_uppercase(), protocol.trim().to_uppercase());
        if !matches!(protocol.as_str(), "PLAINTEXT" | "SSL" | "SASL_PLAINTEXT" | "SASL_SSL") {
            return Err(ConfigError::new(format!(
                "Invalid value {protocol} for configuration {key}: it must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
            )));
        }
        protocols.push((name, protocol));
    }
    if settings.given(key).is_none() {
        // Nobody maps the controller's listener unless something else is mapped too.
        protocols.extend(controllers.iter().map(|name| (name.clone(), "PLAINTEXT".to_owned())));
    }
    Ok(protocols)
}

fn check_protocol(name: &str, protocols: &[(String, String)]) -> Result<(), ConfigError> {
    match protocols.iter().find(|(listener, _)| listener == name) {
        None => Err(ConfigError::new(format!(
            "No security protocol defined for listener {name} in listener.security.protocol.map"
        ))),
        Some((_, protocol)) if protocol != "PLAINTEXT" => Err(ConfigError::new(format!(
            "listener {name} asks for {protocol} (listeners, listener.security.protocol.map): TLS and SASL are not \
             built yet, only PLAINTEXT listeners can be started"
        ))),
        Some(_) => Ok(()),
    }
}

fn check_inter_broker(settings: &Settings, listeners: &[ListenerSettings]) -> Result<(), ConfigError> {
    let Some(name) = settings.text("inter.broker.listener.name") else { return Ok(()) };
    if settings.given("security.inter.broker.protocol").is_some() {
        return Err(ConfigError::new(
            "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set.",
        ));
    }
    let advertised: Vec<&str> =
        listeners.iter().filter(|listener| listener.is_advertised).map(|listener| listener.name.as_str()).collect();
    if !advertised.contains(&name.to_uppercase().as_str()) {
        return Err(ConfigError::new(format!(
            "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options \
             based on currently configured listeners are {}",
            advertised.join(",")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sources::Given;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut values: std::collections::BTreeMap<String, String> =
            [("node.id", "1"), ("log.dirs", "/tmp/x")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        values.extend(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
        Settings::new(Given { values, ..Given::default() })
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        settings(pairs).unwrap_err().0
    }

    #[test]
    fn a_compose_file_of_the_official_image() {
        let settings = settings(&[
            ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT"),
            ("advertised.listeners", "PLAINTEXT_HOST://localhost:9092,PLAINTEXT://broker:19092"),
            ("process.roles", "broker,controller"),
            ("controller.quorum.voters", "1@broker:29093"),
            ("listeners", "CONTROLLER://:29093,PLAINTEXT_HOST://:9092,PLAINTEXT://:19092"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("controller.listener.names", "CONTROLLER"),
        ])
        .unwrap();
        assert_eq!(settings.listeners.len(), 3);
        assert!(settings.listeners[0].is_controller);
        assert_eq!(settings.listeners[1].advertised_host, "localhost");
        assert_eq!(settings.listeners[2].advertised_port, 19092);
    }

    #[test]
    fn contradictions_are_refused() {
        let nowhere = [("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")];
        assert!(refusal(&nowhere).contains("nonroutable meta-address"));
        assert!(
            refusal(&[("advertised.listeners", "OTHER://x:1")])
                .contains("must be equal to or a subset of the ones defined in listeners. Found OTHER")
        );
        assert!(refusal(&[("listeners", "A://:1")]).contains("No security protocol defined for listener A"));
        assert!(refusal(&[("listeners", "SASL_SSL://:1")]).contains("listener SASL_SSL asks for SASL_SSL"));
        assert!(
            refusal(&[("listeners", "PLAINTEXT://:1,SSL://:1")]).contains("Each listener must have a different port")
        );
        assert!(
            refusal(&[("listeners", "PLAINTEXT://:1,plaintext://:2")])
                .contains("Each listener must have a different name")
        );
        assert!(refusal(&[("listeners", "PLAINTEXT//:1")]).contains("Unable to parse"));
        assert!(
            refusal(&[("controller.listener.names", "PLAINTEXT")]).contains("at least one broker advertised listener")
        );
        assert!(
            refusal(&[("inter.broker.listener.name", "X")]).contains("must be a listener name defined in advertised")
        );
    }

    #[test]
    fn where_nothing_is_advertised_clients_are_told_the_address_they_came_by() {
        let follows = |pairs: &[(&str, &str)]| settings(pairs).unwrap().listeners[0].follows_client;
        assert!(follows(&[("listeners", "PLAINTEXT://:9092")]));
        assert!(follows(&[("listeners", "PLAINTEXT://0.0.0.0:9092")]));
        assert!(!follows(&[("listeners", "PLAINTEXT://localhost:9092")]));
        assert!(!follows(&[("listeners", "PLAINTEXT://:9092"), ("advertised.listeners", "PLAINTEXT://:9092")]));
    }

    #[test]
    fn hosts_may_be_addresses() {
        let endpoint = read_endpoint("listeners", "plaintext://[::1]:0").unwrap();
        assert_eq!((endpoint.name.as_str(), endpoint.host.as_str(), endpoint.port), ("PLAINTEXT", "::1", 0));
    }
}
