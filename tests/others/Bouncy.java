import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;
import org.bouncycastle.asn1.ASN1EncodableVector;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERIA5String;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.asn1.DERUTF8String;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.cert.X509CRLHolder;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509ExtensionUtils;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSCompressedData;
import org.bouncycastle.cms.CMSCompressedDataGenerator;
import org.bouncycastle.cms.CMSCompressedDataParser;
import org.bouncycastle.cms.CMSCompressedDataStreamGenerator;
import org.bouncycastle.cms.CMSEnvelopedData;
import org.bouncycastle.cms.CMSEnvelopedDataGenerator;
import org.bouncycastle.cms.CMSEnvelopedDataParser;
import org.bouncycastle.cms.CMSEnvelopedDataStreamGenerator;
import org.bouncycastle.cms.CMSEnvelopedGenerator;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.CMSSignedDataParser;
import org.bouncycastle.cms.CMSSignedDataStreamGenerator;
import org.bouncycastle.cms.CMSSignedGenerator;
import org.bouncycastle.cms.CMSTypedStream;
import org.bouncycastle.cms.DefaultSignedAttributeTableGenerator;
import org.bouncycastle.cms.OriginatorInfoGenerator;
import org.bouncycastle.cms.RecipientInformation;
import org.bouncycastle.cms.RecipientInformationStore;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.SignerInformationStore;
import org.bouncycastle.cms.SimpleAttributeTableGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.cms.jcajce.JceCMSContentEncryptorBuilder;
import org.bouncycastle.cms.jcajce.JceKEKRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyAgreeRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JceKeyTransEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientId;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.JcePasswordRecipientInfoGenerator;
import org.bouncycastle.cms.jcajce.ZlibCompressor;
import org.bouncycastle.cms.jcajce.ZlibExpanderProvider;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.OutputEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/**
 * BouncyCastle as a partner: it secures files and opens them, one request after the other, until its input ends.
 *
 * A request or an answer is a number of fields, each a name and octets; a name may stand there several times. The
 * request "do" is "secure" or "open", "services" are the layers from the inside out: "sign", "compress", "encrypt".
 * What fails is answered with the field "refused", the class and the text of the exception.
 */
public final class Bouncy {
    private static final String BC = BouncyCastleProvider.PROVIDER_NAME;

    private final Map<String, List<byte[]>> request;
    private final Map<String, List<byte[]>> answer = new TreeMap<>();

    private Bouncy(Map<String, List<byte[]>> request) {
        this.request = request;
    }

    public static void main(String[] arguments) throws IOException {
        Security.addProvider(new BouncyCastleProvider());
        DataInputStream in = new DataInputStream(System.in);
        DataOutputStream out = new DataOutputStream(System.out);
        while (true) {
            Map<String, List<byte[]>> request;
            try {
                request = read(in);
            } catch (EOFException end) {
                return;
            }
            write(out, new Bouncy(request).answered());
        }
    }

    private static Map<String, List<byte[]>> read(DataInputStream in) throws IOException {
        Map<String, List<byte[]>> fields = new TreeMap<>();
        for (int left = in.readInt(); left > 0; left--) {
            String name = in.readUTF();
            byte[] octets = new byte[in.readInt()];
            in.readFully(octets);
            fields.computeIfAbsent(name, absent -> new ArrayList<>()).add(octets);
        }
        return fields;
    }

    private static void write(DataOutputStream out, Map<String, List<byte[]>> fields) throws IOException {
        out.writeInt(fields.values().stream().mapToInt(List::size).sum());
        for (Map.Entry<String, List<byte[]>> field : fields.entrySet()) {
            for (byte[] octets : field.getValue()) {
                out.writeUTF(field.getKey());
                out.writeInt(octets.length);
                out.write(octets);
            }
        }
        out.flush();
    }

    private Map<String, List<byte[]>> answered() {
        try {
            byte[] octets = one("octets");
            if (text("do").equals("open")) {
                octets = opened(octets);
            } else {
                octets = text("form").equals("stream") ? streamed(octets) : secured(octets);
            }
            put("octets", octets);
        } catch (Exception | OutOfMemoryError error) {
            answer.clear();
            put("refused", error.toString().getBytes(StandardCharsets.UTF_8));
        }
        return answer;
    }

    // Fields

    private List<byte[]> all(String name) {
        return request.getOrDefault(name, List.of());
    }

    private byte[] one(String name) {
        return all(name).get(0);
    }

    private String text(String name) {
        return new String(one(name), StandardCharsets.UTF_8);
    }

    private List<String> services() {
        return text("services").isEmpty() ? List.of() : List.of(text("services").split(" "));
    }

    private void put(String name, byte[] octets) {
        answer.computeIfAbsent(name, absent -> new ArrayList<>()).add(octets);
    }

    private List<X509Certificate> certificates(String name) throws Exception {
        CertificateFactory factory = CertificateFactory.getInstance("X.509", BC);
        List<X509Certificate> found = new ArrayList<>();
        for (byte[] der : all(name)) {
            found.add((X509Certificate) factory.generateCertificate(new ByteArrayInputStream(der)));
        }
        return found;
    }

    private PrivateKey key(byte[] pkcs8) throws Exception {
        return KeyFactory.getInstance("RSA", BC).generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
    }

    private boolean is(String flag) {
        return text(flag).equals("yes");
    }

    private boolean named(String how) {
        return text("named").equals(how);
    }

    private static byte[] identifier(X509Certificate certificate) throws Exception {
        return new JcaX509ExtensionUtils().createSubjectKeyIdentifier(certificate.getPublicKey()).getKeyIdentifier();
    }

    // Securing: whole arrays, in DER or in the BER that BouncyCastle writes by itself

    private byte[] secured(byte[] octets) throws Exception {
        String encoding = text("form").equals("DER") ? ASN1Encoding.DER : ASN1Encoding.BER;
        List<String> services = services();
        for (int at = 0; at < services.size(); at++) {
            String service = services.get(at);
            CMSProcessableByteArray content = new CMSProcessableByteArray(inside(services, at), octets);
            switch (service) {
                case "sign":
                    CMSSignedDataGenerator signing = new CMSSignedDataGenerator();
                    addSigners(signing);
                    octets = signing.generate(content, is("attached")).toASN1Structure().getEncoded(encoding);
                    break;
                case "compress":
                    CMSCompressedDataGenerator compressing = new CMSCompressedDataGenerator();
                    CMSCompressedData compressed = compressing.generate(content, new ZlibCompressor());
                    octets = compressed.toASN1Structure().getEncoded(encoding);
                    break;
                default:
                    CMSEnvelopedDataGenerator enveloping = new CMSEnvelopedDataGenerator();
                    addRecipients(enveloping);
                    octets = enveloping.generate(content, encryptor()).toASN1Structure().getEncoded(encoding);
            }
        }
        return octets;
    }

    // Securing: one stream inside the other, as for files that do not fit into memory

    private byte[] streamed(byte[] octets) throws Exception {
        int segment = Integer.parseInt(text("segment"));
        ByteArrayOutputStream file = new ByteArrayOutputStream();
        List<OutputStream> layers = new ArrayList<>(List.of(file));
        List<String> services = services();
        for (int at = services.size() - 1; at >= 0; at--) {
            OutputStream out = layers.get(0);
            switch (services.get(at)) {
                case "sign":
                    CMSSignedDataStreamGenerator signing = new CMSSignedDataStreamGenerator();
                    signing.setBufferSize(segment);
                    addSigners(signing);
                    layers.add(0, signing.open(out, is("attached")));
                    break;
                case "compress":
                    CMSCompressedDataStreamGenerator compressing = new CMSCompressedDataStreamGenerator();
                    compressing.setBufferSize(segment);
                    layers.add(0, compressing.open(inside(services, at), out, new ZlibCompressor()));
                    break;
                default:
                    CMSEnvelopedDataStreamGenerator enveloping = new CMSEnvelopedDataStreamGenerator();
                    enveloping.setBufferSize(segment);
                    addRecipients(enveloping);
                    layers.add(0, enveloping.open(inside(services, at), out, encryptor()));
            }
        }
        layers.get(0).write(octets);
        for (OutputStream layer : layers) {
            layer.close();
        }
        return file.toByteArray();
    }

    /** The type that a layer gives to what is inside: plain data, as RFC 5024 has it, or the type of the next layer. */
    private ASN1ObjectIdentifier inside(List<String> services, int at) {
        if (at == 0 || !is("typed")) {
            return CMSObjectIdentifiers.data;
        }
        return services.get(at - 1).equals("sign")
                ? CMSObjectIdentifiers.signedData
                : CMSObjectIdentifiers.compressedData;
    }

    private void addSigners(CMSSignedGenerator generator) throws Exception {
        List<X509Certificate> signers = certificates("signer");
        for (int at = 0; at < signers.size(); at++) {
            X509Certificate signer = signers.get(at);
            PrivateKey key = key(all("signer key").get(at));
            ContentSigner by = new JcaContentSignerBuilder(text("signature")).setProvider(BC).build(key);
            JcaSignerInfoGeneratorBuilder builder = new JcaSignerInfoGeneratorBuilder(digests());
            builder.setDirectSignature(!is("attributes"));
            if (is("extras")) {
                builder.setSignedAttributeGenerator(new DefaultSignedAttributeTableGenerator(extra()));
                builder.setUnsignedAttributeGenerator(new SimpleAttributeTableGenerator(extra()));
            }
            generator.addSignerInfoGenerator(
                    named("by key") ? builder.build(by, identifier(signer)) : builder.build(by, signer));
            if (is("certificates")) {
                generator.addCertificate(new JcaX509CertificateHolder(signer));
            }
        }
        for (byte[] list : all("list")) {
            generator.addCRL(new X509CRLHolder(list));
        }
    }

    /** Attributes that nobody asked for. */
    private static AttributeTable extra() {
        ASN1EncodableVector attributes = new ASN1EncodableVector();
        DERSet name = new DERSet(new DERIA5String("a"));
        DERSet address = new DERSet(new DERUTF8String("b"));
        attributes.add(new Attribute(PKCSObjectIdentifiers.pkcs_9_at_unstructuredName, name));
        attributes.add(new Attribute(PKCSObjectIdentifiers.pkcs_9_at_unstructuredAddress, address));
        return new AttributeTable(attributes);
    }

    private static DigestCalculatorProvider digests() throws Exception {
        return new JcaDigestCalculatorProviderBuilder().setProvider(BC).build();
    }

    private void addRecipients(CMSEnvelopedGenerator generator) throws Exception {
        if (is("extras")) {
            addOthers(generator);
        }
        for (X509Certificate recipient : certificates("recipient")) {
            byte[] identifier = identifier(recipient);
            JceKeyTransRecipientInfoGenerator info;
            if (all("OAEP").isEmpty()) {
                info = named("by key")
                        ? new JceKeyTransRecipientInfoGenerator(identifier, recipient.getPublicKey())
                        : new JceKeyTransRecipientInfoGenerator(recipient);
            } else {
                info = named("by key")
                        ? new JceKeyTransRecipientInfoGenerator(identifier, oaep(), recipient.getPublicKey())
                        : new JceKeyTransRecipientInfoGenerator(recipient, oaep());
            }
            generator.addRecipientInfoGenerator(info.setProvider(BC));
        }
    }

    /** Recipients with keys of other kinds, who it is from, and attributes behind it. */
    private void addOthers(CMSEnvelopedGenerator generator) throws Exception {
        KeyPairGenerator curve = KeyPairGenerator.getInstance("EC", BC);
        curve.initialize(256);
        KeyPair one = curve.generateKeyPair();
        generator.addRecipientInfoGenerator(new JceKeyAgreeRecipientInfoGenerator(
                        CMSAlgorithm.ECDH_SHA256KDF, one.getPrivate(), one.getPublic(), CMSAlgorithm.AES256_WRAP)
                .addRecipient(new byte[20], curve.generateKeyPair().getPublic())
                .setProvider(BC));
        generator.addRecipientInfoGenerator(
                new JceKEKRecipientInfoGenerator(new byte[8], new SecretKeySpec(new byte[32], "AES")).setProvider(BC));
        generator.addRecipientInfoGenerator(
                new JcePasswordRecipientInfoGenerator(CMSAlgorithm.AES256_CBC, "word".toCharArray()).setProvider(BC));
        X509CertificateHolder from = new JcaX509CertificateHolder(certificates("recipient").get(0));
        generator.setOriginatorInfo(new OriginatorInfoGenerator(from).generate());
        generator.setUnprotectedAttributeGenerator(new SimpleAttributeTableGenerator(extra()));
    }

    private AlgorithmIdentifier oaep() throws Exception {
        MGF1ParameterSpec mask = new MGF1ParameterSpec(text("MGF1"));
        OAEPParameterSpec parameters =
                new OAEPParameterSpec(text("OAEP"), "MGF1", mask, PSource.PSpecified.DEFAULT);
        return new JcaAlgorithmParametersConverter()
                .getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP, parameters);
    }

    private OutputEncryptor encryptor() throws Exception {
        Map<String, ASN1ObjectIdentifier> ciphers = Map.of(
                "3DES", CMSAlgorithm.DES_EDE3_CBC,
                "AES-128", CMSAlgorithm.AES128_CBC,
                "AES-192", CMSAlgorithm.AES192_CBC,
                "AES-256", CMSAlgorithm.AES256_CBC);
        return new JceCMSContentEncryptorBuilder(ciphers.get(text("cipher"))).setProvider(BC).build();
    }

    // Opening: the outermost layer first, whole or by the parsers of streams

    private byte[] opened(byte[] octets) throws Exception {
        boolean whole = !text("form").equals("stream");
        List<String> services = services();
        for (int at = services.size() - 1; at >= 0; at--) {
            switch (services.get(at)) {
                case "sign":
                    octets = whole ? verified(octets) : verifiedStream(octets);
                    break;
                case "compress":
                    ZlibExpanderProvider zlib = new ZlibExpanderProvider();
                    octets = whole
                            ? new CMSCompressedData(octets).getContent(zlib)
                            : drained(new CMSCompressedDataParser(octets).getContent(zlib));
                    break;
                default:
                    octets = whole ? decrypted(octets) : decryptedStream(octets);
            }
        }
        return octets;
    }

    private static byte[] drained(CMSTypedStream content) throws IOException {
        try (InputStream stream = content.getContentStream()) {
            return stream.readAllBytes();
        }
    }

    private byte[] verified(byte[] octets) throws Exception {
        byte[] content = all("content").isEmpty() ? null : one("content");
        CMSSignedData signed = content == null
                ? new CMSSignedData(octets)
                : new CMSSignedData(new CMSProcessableByteArray(content), octets);
        verify(signed.getSignerInfos());
        return content == null ? (byte[]) signed.getSignedContent().getContent() : content;
    }

    private byte[] verifiedStream(byte[] octets) throws Exception {
        byte[] content = all("content").isEmpty() ? null : one("content");
        CMSSignedDataParser parser = content == null
                ? new CMSSignedDataParser(digests(), octets)
                : new CMSSignedDataParser(digests(), new CMSTypedStream(new ByteArrayInputStream(content)), octets);
        byte[] inside = drained(parser.getSignedContent());
        verify(parser.getSignerInfos());
        return inside;
    }

    /** Every signature has to be valid, and by one of the certificates that were given. */
    private void verify(SignerInformationStore infos) throws Exception {
        if (infos.size() == 0) {
            throw new CMSException("there is no signature");
        }
        for (SignerInformation info : infos) {
            X509Certificate by = null;
            for (X509Certificate signer : certificates("signer")) {
                if (info.getSID().match(new X509CertificateHolder(signer.getEncoded()))) {
                    by = signer;
                }
            }
            if (by == null) {
                throw new CMSException("a signature is by somebody else");
            }
            if (!info.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider(BC).build(by))) {
                throw new CMSException("a signature is not valid");
            }
            put("signer", by.getEncoded());
            put("digest", info.getDigestAlgOID().getBytes(StandardCharsets.US_ASCII));
        }
    }

    private byte[] decrypted(byte[] octets) throws Exception {
        return recipient(new CMSEnvelopedData(octets).getRecipientInfos()).getContent(unwrapping());
    }

    private byte[] decryptedStream(byte[] octets) throws Exception {
        RecipientInformationStore infos = new CMSEnvelopedDataParser(octets).getRecipientInfos();
        return drained(recipient(infos).getContentStream(unwrapping()));
    }

    private RecipientInformation recipient(RecipientInformationStore infos) throws Exception {
        RecipientInformation found = infos.get(new JceKeyTransRecipientId(certificates("recipient").get(0)));
        if (found == null) {
            throw new CMSException("it is encrypted for somebody else");
        }
        return found;
    }

    private JceKeyTransEnvelopedRecipient unwrapping() throws Exception {
        JceKeyTransEnvelopedRecipient recipient = new JceKeyTransEnvelopedRecipient(key(one("recipient key")));
        recipient.setProvider(BC);
        return recipient;
    }
}
