"""Captions as people write them, in several languages and scripts; written for these tests."""

from __future__ import annotations

CAPTIONS: dict[str, tuple[str, ...]] = {
    "en": (
        "A brown dog runs across the grass with a red ball in its mouth.",
        "Two children in yellow raincoats jump into a large puddle next to a parked bus.",
        "An old man sits on a bench and reads his newspaper while pigeons walk around him.",
        "A very, very big cat on a very small chair, and a woman who laughs at it.",
    ),
    "de": (
        "Ein brauner Hund läuft mit einem roten Ball im Maul über die Wiese.",
        "Zwei Kinder in gelben Regenjacken springen neben einem Bus in eine große Pfütze.",
        "Ein alter Mann sitzt auf einer Bank und liest die Zeitung, um ihn herum Tauben.",
        "Eine Frau, die, die Hand am Lenker, durch den Regen radelt.",
    ),
    "fr": (
        "Un chien brun court dans l'herbe avec une balle rouge dans la gueule.",
        "Deux enfants en cirés jaunes sautent dans une grande flaque à côté d'un autobus.",
        "Nous nous promenons le long de la rivière ; un pêcheur lance sa ligne.",
    ),
    "es": (
        "Un perro marrón corre por la hierba con una pelota roja en la boca.",
        "Dos niños con impermeables amarillos saltan en un charco junto a un autobús.",
        "Una mujer mayor vende naranjas muy, muy grandes en el mercado del pueblo.",
    ),
    "pl": (
        "Brązowy pies biegnie po trawie z czerwoną piłką w pysku.",
        "Dwoje dzieci w żółtych płaszczach skacze do kałuży obok autobusu.",
    ),
    "tr": (
        "Kahverengi bir köpek, ağzında kırmızı bir topla çimenlerin üzerinde koşuyor.",
        "Yaşlı bir adam yavaş yavaş merdivenlerden iniyor.",
    ),
    "vi": (
        "Một con chó nâu chạy trên bãi cỏ với quả bóng đỏ trong miệng.",
        "Hai con chuồn chuồn xanh xanh đậu trên lá sen trong ao.",
    ),
    "id": (
        "Seekor anjing cokelat berlari di rumput dengan bola merah di mulutnya.",
        "Kupu-kupu kuning hinggap di bunga-bunga di depan rumah anak-anak itu.",
    ),
    "ru": (
        "Коричневая собака бежит по траве с красным мячом в зубах.",
        "Двое детей в жёлтых плащах прыгают в большую лужу рядом с автобусом.",
        "Еле-еле видно, как за туманом по реке медленно плывёт белый пароход.",
    ),
    "el": (
        "Ένας καφέ σκύλος τρέχει στο γρασίδι με μια κόκκινη μπάλα στο στόμα.",
        "Δύο παιδιά με κίτρινα αδιάβροχα πηδούν σε μια λακκούβα με νερό.",
    ),
    "ar": (
        "كلب بني يركض على العشب وفي فمه كرة حمراء.",
        "طفلان يرتديان معطفين أصفرين يقفزان في بركة ماء بجانب حافلة.",
    ),
    "he": (
        "כלב חום רץ על הדשא עם כדור אדום בפה.",
        "שני ילדים במעילי גשם צהובים קופצים לשלולית ליד אוטובוס.",
    ),
    "hi": (
        "एक भूरा कुत्ता मुँह में लाल गेंद लिए घास पर दौड़ रहा है।",
        "पीले रेनकोट पहने दो छोटे छोटे बच्चे बस के पास पानी में कूद रहे हैं।",
    ),
    "th": (
        "สุนัขสีน้ำตาลวิ่งอยู่บนสนามหญ้าโดยคาบลูกบอลสีแดงไว้ในปาก",
        "เด็กสองคนสวมเสื้อกันฝนสีเหลืองกระโดดลงแอ่งน้ำข้างรถบัส",
    ),
    "zh": (
        "一只棕色的狗嘴里叼着红色的球在草地上奔跑。",
        "两个穿着黄色雨衣的孩子在公共汽车旁边跳进一个大水坑。",
        "奶奶和妈妈高高兴兴地坐在门前看星星。",
    ),
    "ja": (
        "茶色い犬が赤いボールをくわえて芝生の上を走っている。",
        "黄色いレインコートを着た子どもが二人、バスの横の水たまりに飛び込んでいる。",
    ),
    "ko": (
        "갈색 개가 빨간 공을 물고 잔디밭 위를 달리고 있다.",
        "노란 비옷을 입은 아이 두 명이 버스 옆 물웅덩이로 뛰어들고 있다.",
    ),
}
ALL = tuple((language, caption) for language, texts in CAPTIONS.items() for caption in texts)
